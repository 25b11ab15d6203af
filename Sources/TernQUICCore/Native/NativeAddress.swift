// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import NIOCore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

extension QUICPath {
    /// Lends both addresses to C for the length of `body`.
    func withNative<Result>(_ body: (tern_quic_path) -> Result) -> Result {
        self.local.withSockAddr { local, localLength in
            self.remote.withSockAddr { remote, remoteLength in
                body(
                    tern_quic_path(
                        local: local, local_length: socklen_t(localLength), remote: remote,
                        remote_length: socklen_t(remoteLength)))
            }
        }
    }

    /// Whether these are the very same addresses; `false` says only that it is not known.
    func isNative(local: inout sockaddr_storage, remote: inout sockaddr_storage) -> Bool {
        self.withNative { path in
            memcmp(&local, path.local, Int(path.local_length)) == 0
                && memcmp(&remote, path.remote, Int(path.remote_length)) == 0
        }
    }

    /// `nil` when an address is of no IP family.
    init?(local: inout sockaddr_storage, remote: inout sockaddr_storage) {
        guard let local = SocketAddress(native: &local), let remote = SocketAddress(native: &remote) else { return nil }
        self.init(local: local, remote: remote)
    }
}

extension SocketAddress {
    fileprivate init?(native storage: inout sockaddr_storage) {
        let address: SocketAddress? = withUnsafePointer(to: &storage) { pointer in
            switch Int32(pointer.pointee.ss_family) {
            case AF_INET: SocketAddress(UnsafeRawPointer(pointer).load(as: sockaddr_in.self))
            case AF_INET6: SocketAddress(UnsafeRawPointer(pointer).load(as: sockaddr_in6.self))
            default: nil
            }
        }
        guard let address else { return nil }
        self = address
    }
}

extension QUICConnectionID {
    init(_ native: tern_quic_cid) {
        self = withUnsafeBytes(of: native.bytes) {
            QUICConnectionID(copying: UnsafeRawBufferPointer(rebasing: $0.prefix(Int(native.length))))
        }
    }

    var native: tern_quic_cid {
        var cid = tern_quic_cid()
        cid.length = UInt8(self.count)
        withUnsafeMutableBytes(of: &cid.bytes) { bytes in
            withUnsafeBytes(of: self.words) { bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<20])) }
        }
        return cid
    }
}
