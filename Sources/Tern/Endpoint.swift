// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Where to connect to or listen at: a host name or an IP address literal, and a port that UDP and TCP share.
public struct Endpoint: Sendable, Hashable, CustomStringConvertible {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets.
    public let host: String
    /// 0 lets the kernel choose when listening.
    public let port: Int

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `name:4433`, `192.0.2.1:4433` or `[2001:db8::1]:4433`; `nil` for anything else.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            // An IPv6 address without brackets: its last group would be taken for the port.
            return nil
        }
        guard !host.isEmpty else { return nil }
        self.init(host: String(host), port: Int(port))
    }

    public var description: String {
        self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
    }
}

/// The ALPN identifiers of one application, one for each carrier.
///
/// QMux requires that they differ (draft-ietf-quic-qmux-02, section on ALPN): a peer must never mistake one mapping for the other.
public struct ApplicationProtocol: Sendable, Hashable {
    /// For QUIC, such as `echo`.
    public let quic: String
    /// For QMux over TLS, such as `echo-qx02`.
    public let tls: String

    public init(quic: String, tls: String) {
        precondition(quic != tls, "the ALPN identifiers of the two carriers must differ")
        self.quic = quic
        self.tls = tls
    }

    /// The usual pair: `name` on QUIC, and `name` with the suffix of QMux draft-02 on TLS.
    public init(_ name: String) {
        self.init(quic: name, tls: "\(name)-qx02")
    }
}
