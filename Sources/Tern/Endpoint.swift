// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTLS
public import TernTransport

/// Where to connect to or listen at: a host name or an IP address literal, and a port that UDP and TCP share.
public struct Endpoint: Sendable, Hashable, CustomStringConvertible {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets, perhaps with a zone such as `fe80::1%eth0`.
    public let host: String
    /// 0 lets the kernel choose when listening.
    public let port: Int

    /// - Parameters:
    ///   - host: a DNS name, also an internationalised one or one with a dot at its end, or an IP address; IPv6 with or without
    ///     brackets.
    ///   - port: 0 to 65535.
    /// - Throws: ``TernTransport/TransportError/Code/misuse`` for what is no host or no port.
    public init(host: String, port: Int) throws(TransportError) {
        guard (0...65_535).contains(port) else {
            throw TransportError(.misuse, message: "\(port) is no port: they go from 0 to 65535")
        }
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        // Whatever cannot be a server's name is no place to listen at either.
        _ = try ServerName(bare)
        self.host = bare
        self.port = port
    }

    private init(known host: String, port: UInt16) {
        self.host = host
        self.port = Int(port)
    }

    /// Reads `name:4433`, `192.0.2.1:4433` or `[2001:db8::1]:4433`; `nil` for anything else.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        // A number may have a sign, a port may not.
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits) else { return nil }
        let host = text[..<colon]
        // An IPv6 address without brackets: its last group would be taken for the port.
        guard !host.contains(":") || (host.hasPrefix("[") && host.hasSuffix("]")) else { return nil }
        do throws(TransportError) {
            try self.init(host: String(host), port: Int(port))
        } catch {
            return nil
        }
    }

    /// This machine alone: `127.0.0.1`.
    public static func loopback(port: UInt16 = 0) -> Endpoint { Endpoint(known: "127.0.0.1", port: port) }

    /// Every address of this machine, IPv4 and IPv6: `::`.
    public static func everywhere(port: UInt16 = 0) -> Endpoint { Endpoint(known: "::", port: port) }

    public var description: String {
        self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
    }
}

/// The ALPN identifiers of one application, one for each carrier.
///
/// QMux requires that they differ (draft-ietf-quic-qmux-02, section on ALPN): a peer must never mistake one mapping for the other.
/// Each has 1 to 31 bytes of UTF-8, because GnuTLS has no room for more (RFC 7301 permits 255). ``Connector`` and ``Listener``
/// refuse others with ``TernTransport/TransportError/Code/misuse``.
public struct ApplicationProtocol: Sendable, Hashable {
    /// For QUIC, such as `echo`.
    public let quic: String
    /// For QMux over TLS, such as `echo-qx02`.
    public let tls: String

    public init(quic: String, tls: String) {
        self.quic = quic
        self.tls = tls
    }

    /// The usual pair: `name` on QUIC, and `name` with the suffix of QMux draft-02 on TLS.
    ///
    /// - Parameter name: 1 to 26 bytes of UTF-8: the suffix `-qx02` takes five.
    public init(_ name: String) {
        self.init(quic: name, tls: "\(name)-qx02")
    }

    /// What the message server of this package and its clients speak (Docs/PROTOCOL.md, section 1).
    public static let messages = ApplicationProtocol(quic: "tern/1", tls: "tern/1-qx02")

    /// - Throws: ``TernTransport/TransportError/Code/misuse``.
    func check() throws(TransportError) {
        let longest = ApplicationProtocolLimits.longest
        for (name, carrier) in [(self.quic, Carrier.quic), (self.tls, Carrier.tls)] {
            guard !(1...longest).contains(name.utf8.count) else { continue }
            throw TransportError(
                .misuse,
                message:
                    "the ALPN identifier \"\(name)\" for \(carrier) has \(name.utf8.count) bytes, not 1 to \(longest)")
        }
        guard self.quic == self.tls else { return }
        throw TransportError(
            .misuse, message: "the ALPN identifiers of the two carriers must differ; both are \"\(self.quic)\"")
    }
}
