// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// How a client uses TLS 1.3.
///
/// When the environment variable `SSLKEYLOGFILE` names a file, the secrets of all connections of the process, over both carriers, are
/// appended to it in NSS's format: Wireshark decrypts captures with it. Whoever reads the file reads the traffic: it is kept
/// readable for its owner alone, a symbolic link or another user's file is refused, and a warning is logged.
public struct TLSClientConfiguration: Sendable {
    /// Whom to trust.
    public var trust: TLSTrust
    /// Who we are, for servers that ask (mutual TLS); `nil`: such servers get no certificate.
    public var identity: TLSIdentity?
    /// What may protect connections, the preferred one first; at least one. The server chooses.
    public var cipherSuites: [TLSCipherSuite] = .standard
    /// Where tickets for later connections are kept; copies of this value share it. `nil`: every handshake is a full one.
    public var sessionCache: TLSSessionCache? = TLSSessionCache()
    /// How long a server is believed without proving anew that it has its private key. Resumed connections bring tickets for
    /// others, so that a thief of the server's ticket secret could pass for it for ever; a connection that begins later than
    /// this after the last full handshake makes another one, whatever tickets there are.
    public var fullHandshakeInterval: TimeAmount = .hours(12)
    /// Whether what is marked as replayable may be sent before the handshake is done, when a ticket allows it (0-RTT).
    public var sendsEarlyData = true

    public init(trust: TLSTrust = .system) {
        self.trust = trust
    }
}

/// How a server uses TLS 1.3. `SSLKEYLOGFILE` works as for a client.
public struct TLSServerConfiguration: Sendable {
    /// The server's certificate chain and private key.
    public var identity: TLSIdentity
    /// Whether clients must show a certificate, too (mutual TLS), and which.
    public var clientAuthentication = TLSClientAuthentication.none
    /// What may protect connections; at least one. The first one that a client offers, too, is taken.
    public var cipherSuites: [TLSCipherSuite] = .standard
    /// How clients resume connections; `nil`: every handshake is a full one.
    public var tickets: TLSTickets? = TLSTickets()
    /// How data before the end of the handshake is taken (0-RTT); `nil`, the default, refuses it. It is also refused where
    /// clients are asked for certificates.
    public var earlyData: TLSEarlyData?

    public init(identity: TLSIdentity) {
        self.identity = identity
    }
}

/// Whether a server asks its clients for a certificate (RFC 8446, section 4.3.2).
///
/// A client is verified inside the handshake: it must be trusted, valid now, and made for clients (id-kp-clientAuth, RFC 5280,
/// section 4.2.1.12). A client that comes back with a ticket is verified again, from the certificates that it showed; that it has
/// the private key it proves again after ``TLSTickets/lifetime`` at the latest. The application finds the chain in ``TernTransport/LoopConnection/peerCertificates`` and reads it with
/// ``TLSCertificate``.
public enum TLSClientAuthentication: Sendable, Hashable {
    /// Clients show nothing.
    case none
    /// A client may come without a certificate; one that it shows must be trusted.
    case optional(TLSTrust)
    /// A client without a trusted certificate is refused.
    case required(TLSTrust)

    var trust: TLSTrust? {
        switch self {
        case .none: nil
        case .optional(let trust), .required(let trust): trust
        }
    }
}
