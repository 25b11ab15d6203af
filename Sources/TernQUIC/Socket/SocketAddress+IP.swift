// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import NIOCore

extension SocketAddress {
    /// Whether this is 0.0.0.0 or [::].
    var isWildcard: Bool {
        let bytes = self.ipAddressBytes
        return !bytes.isEmpty && bytes.allSatisfy { $0 == 0 }
    }

    /// The same address, as IPv4 if it is an IPv4 address written as IPv6 (RFC 4291, section 2.5.5.2).
    var withoutIPv4Mapping: SocketAddress {
        let bytes = self.ipAddressBytes
        guard bytes.count == 16, bytes.prefix(10).allSatisfy({ $0 == 0 }), bytes[10] == 0xff, bytes[11] == 0xff else {
            return self
        }
        let mapped = try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes.suffix(4)), port: self.port ?? 0)
        return mapped ?? self
    }

    /// The IP address, 4 or 16 bytes in network order; none for another family.
    var ipAddressBytes: [UInt8] {
        self.withSockAddr { address, _ in
            [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
                count = tern_ip_address_bytes(address, buffer.baseAddress)
            }
        }
    }
}

extension SocketAddress {
    /// The address that datagrams to `remote` leave from, where this one is a wildcard.
    func asRouted(to remote: SocketAddress) -> SocketAddress {
        guard self.isWildcard else { return self.withoutIPv4Mapping }
        let descriptor = remote.withSockAddr { address, _ in tern_udp_probe_open(address) }
        guard descriptor >= 0 else { return self }
        defer { tern_udp_probe_close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = tern_udp_probe_local_address(descriptor, &bytes)
        let routed = try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes.prefix(count)), port: self.port ?? 0)
        return routed?.withoutIPv4Mapping ?? self
    }
}
