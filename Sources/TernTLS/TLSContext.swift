// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
package import TernTransport

/// What a TLS session carries: QUIC packets (RFC 9001), or records over a byte stream (RFC 8446).
package enum TLSFlavour: Sendable {
    case quic
    case stream
}

/// What all sessions of a client share: loaded once, used on any thread.
package struct TLSClientContext: Sendable {
    private let credentials: Credentials
    private let priorities: Priorities.Pair
    private let trust: TLSTrust
    private let identity: TLSIdentity?
    private let cache: TLSSessionCache?
    private let sendsEarlyData: Bool
    /// In seconds.
    private let fullHandshakeInterval: Int
    private let clock: @Sendable () -> Int
    private let keyLog: KeyLog?

    package init(_ configuration: TLSClientConfiguration) throws(TLSError) {
        try self.init(configuration, clock: { SystemClock.secondsSince1970 }, keyLog: .ofProcess)
    }

    /// - Parameter clock: seconds since 1970, by which tickets age.
    init(
        _ configuration: TLSClientConfiguration, clock: @escaping @Sendable () -> Int, keyLog: KeyLog? = nil
    ) throws(TLSError) {
        self.clock = clock
        self.keyLog = keyLog
        self.fullHandshakeInterval = Int(max(configuration.fullHandshakeInterval.nanoseconds, 0) / 1_000_000_000)
        self.credentials = try Credentials()
        self.priorities = try Priorities.Pair(configuration.cipherSuites, .client)
        self.trust = configuration.trust
        self.identity = configuration.identity
        self.cache = configuration.sessionCache
        self.sendsEarlyData = configuration.sendsEarlyData
        try self.credentials.trust(configuration.trust)
        if let identity = configuration.identity { try self.credentials.use(identity.credentials) }
    }

    /// - Parameters:
    ///   - serverName: the DNS name or IP address that the server must prove, as people write it.
    ///   - port: of the server; tickets are kept by it.
    ///   - hasEarlyData: whether there is something to send before the handshake is done.
    ///   - resumesForEarlyDataOnly: use no ticket that does not let us send early.
    package func makeSession(
        for flavour: TLSFlavour, applicationProtocols: [String], serverName: String, port: Int = 0,
        hasEarlyData: Bool = false, resumesForEarlyDataOnly: Bool = false
    ) throws(TransportError) -> TLSSession {
        let name = try ServerName(serverName)
        let resumption = self.cache.map { cache in
            let key = TLSSessionCache.Key(
                serverName: name, port: port, flavour: flavour, applicationProtocols: applicationProtocols,
                trust: self.trust, identity: self.identity?.certificateSHA256)
            let offersEarlyData = hasEarlyData && self.sendsEarlyData
            let now = self.clock()
            var entry = cache.take(key) { $0.proof.holds(at: now, for: self.fullHandshakeInterval) }
            if resumesForEarlyDataOnly, !offersEarlyData || entry?.earlyDataLimit == 0 { entry = nil }
            return ClientResumption(
                cache: cache, key: key, entry: entry, offersEarlyData: offersEarlyData, clock: self.clock)
        }
        return try TLSSession(
            .client(serverName: name, self.trust), flavour, credentials: self.credentials,
            priorities: self.priorities[flavour], applicationProtocols: applicationProtocols, resumption: resumption,
            keyLog: self.keyLog)
    }
}

/// What all sessions of a server share: loaded once, used on any thread.
package struct TLSServerContext: Sendable {
    private let credentials: Credentials
    private let priorities: Priorities.Pair
    private let clientAuthentication: TLSClientAuthentication
    private let resumption: ServerResumption?
    private let keyLog: KeyLog?

    package init(_ configuration: TLSServerConfiguration) throws(TLSError) {
        try self.init(configuration, keyLog: .ofProcess)
    }

    init(_ configuration: TLSServerConfiguration, keyLog: KeyLog?) throws(TLSError) {
        self.keyLog = keyLog
        self.priorities = try Priorities.Pair(configuration.cipherSuites, .server)
        self.clientAuthentication = configuration.clientAuthentication
        if let trust = configuration.clientAuthentication.trust {
            self.credentials = try Credentials()
            try self.credentials.use(configuration.identity.credentials)
            try self.credentials.trust(trust)
        } else {
            self.credentials = configuration.identity.credentials
        }
        // Whom a ticket stands for is known for sure only when its certificate was verified again, after the handshake.
        let earlyData = configuration.clientAuthentication == .none ? configuration.earlyData : nil
        self.resumption = try configuration.tickets.map { tickets throws(TLSError) in
            try ServerResumption(tickets, earlyData: earlyData)
        }
    }

    /// - Parameter client: where the client is, so that nobody can spend the 0-RTT of all others.
    package func makeSession(
        for flavour: TLSFlavour, applicationProtocols: [String], client: ClientNetwork? = nil
    ) throws(TransportError) -> TLSSession {
        try TLSSession(
            .server(self.clientAuthentication, self.resumption), flavour, credentials: self.credentials,
            priorities: self.priorities[flavour], applicationProtocols: applicationProtocols, keyLog: self.keyLog,
            client: client)
    }
}
