// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
internal import NIOCore
package import TernTransport

/// The name of a server as certificates and the server name of TLS have it: a DNS name in A-labels without a dot at its end, or a
/// literal address without a zone.
package struct ServerName: Sendable, Hashable {
    package let text: String
    package let isAddress: Bool

    /// - Parameter host: as people write it: `good.example.` (absolute), `fe80::1%eth0`, `bücher.example`.
    /// - Throws: ``TernTransport/TransportError/Code/misuse`` for what can be no name of a server.
    package init(_ host: String) throws(TransportError) {
        // A zone says which of our links an address is on (RFC 4007, section 11); to the server it means nothing.
        let address = host.prefix { $0 != "%" }
        if (try? SocketAddress(ipAddress: String(address), port: 0)) != nil,
            host.count == address.count || host.contains(":")
        {
            self.text = address.lowercased()
            self.isAddress = true
            return
        }
        var name = host.utf8.allSatisfy { $0 < 0x80 } ? host.lowercased() : try Self.mapped(host)
        // RFC 6066, section 3: without a trailing dot; RFC 9525, section 6.3, compares names without.
        if name.hasSuffix(".") { name.removeLast() }
        guard Self.isName(name) else {
            throw TransportError(.misuse, message: "\"\(host)\" is neither the name of a host nor an address")
        }
        self.text = name
        self.isAddress = false
    }

    /// A-labels of an internationalised name (RFC 5890).
    private static func mapped(_ host: String) throws(TransportError) -> String {
        var datum = gnutls_datum_t()
        let status = gnutls_idna_map(host, UInt32(host.utf8.count), &datum, 0)
        guard status == 0, let data = datum.data else {
            throw TransportError(
                .misuse,
                message: "\"\(host)\" has no form in A-labels, such as xn--bcher-kva.example (\(describe(status)))")
        }
        defer { CGnuTLS_free(data) }
        return String(decoding: UnsafeBufferPointer(start: data, count: Int(datum.size)), as: UTF8.self).lowercased()
    }

    /// Labels of 1 to 63 letters, digits, hyphens and underscores, at most 253 bytes in all (RFC 1035, section 2.3.4).
    private static func isName(_ name: String) -> Bool {
        guard !name.isEmpty, name.utf8.count <= 253 else { return false }
        return name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.count)
                && label.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                        UInt8(ascii: "-"), UInt8(ascii: "_"):
                        true
                    default: false
                    }
                }
        }
    }
}

/// What GnuTLS takes as an ALPN identifier.
package enum ApplicationProtocolLimits {
    /// RFC 7301 permits 255.
    package static let longest = 31
}
