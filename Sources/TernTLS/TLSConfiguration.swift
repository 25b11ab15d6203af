// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Whom a client trusts.
///
/// There is no mode that trusts everybody: for a server of one's own use its CA file, or pin its key.
public struct TLSTrust: Sendable, Hashable {
    enum Source: Hashable {
        case system
        case authorities([UInt8])
        case pins([[UInt8]])
    }

    let source: Source

    /// The certificate authorities of the operating system. The server's certificate must carry its name or address.
    public static let system = TLSTrust(source: .system)

    /// The certificate authorities in a PEM file, and no others. The server's certificate must carry its name or address.
    ///
    /// - Throws: ``TLSError`` when the file can't be read.
    public static func certificateAuthorities(file path: String) throws -> TLSTrust {
        .certificateAuthorities(pem: try FileBytes.read(path))
    }

    /// The certificate authorities in `pem`, and no others. The server's certificate must carry its name or address.
    public static func certificateAuthorities(pem: [UInt8]) -> TLSTrust {
        TLSTrust(source: .authorities(pem))
    }

    /// A server that shows one of these public keys, whoever signed its certificate and whatever name it carries.
    ///
    /// - Parameter digests: SHA-256 over the DER of the SubjectPublicKeyInfo (RFC 7469, section 2.4), 32 bytes each.
    public static func pinned(subjectPublicKeyInfoSHA256 digests: [[UInt8]]) -> TLSTrust {
        TLSTrust(source: .pins(digests))
    }
}

/// How a client uses TLS 1.3.
public struct TLSClientConfiguration: Sendable {
    /// Whom to trust.
    public var trust: TLSTrust
    /// Where tickets for later connections are kept; copies of this value share it. `nil`: every handshake is a full one.
    public var sessionCache: TLSSessionCache? = TLSSessionCache()
    /// Whether what is marked as replayable may be sent before the handshake is done, when a ticket allows it (0-RTT).
    public var sendsEarlyData = true

    public init(trust: TLSTrust = .system) {
        self.trust = trust
    }
}

/// How a server uses TLS 1.3.
public struct TLSServerConfiguration: Sendable {
    /// The server's certificate chain and private key.
    public var identity: TLSIdentity
    /// How clients resume connections; `nil`: every handshake is a full one.
    public var tickets: TLSTickets? = TLSTickets()
    /// How data before the end of the handshake is taken (0-RTT); `nil`, the default, refuses it.
    public var earlyData: TLSEarlyData?

    public init(identity: TLSIdentity) {
        self.identity = identity
    }
}
