// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernTransport

/// What a TLS session carries: QUIC packets (RFC 9001), or records over a byte stream (RFC 8446).
package enum TLSFlavour: Sendable {
    case quic
    case stream
}

/// What all sessions of a client share: loaded once, used on any thread.
package struct TLSClientContext: Sendable {
    private let credentials: Credentials
    private let trust: TLSTrust
    private let cache: TLSSessionCache?
    private let sendsEarlyData: Bool

    package init(_ configuration: TLSClientConfiguration) throws(TLSError) {
        self.credentials = try Credentials()
        self.trust = configuration.trust
        self.cache = configuration.sessionCache
        self.sendsEarlyData = configuration.sendsEarlyData
        try self.credentials.trust(configuration.trust)
    }

    /// - Parameters:
    ///   - serverName: the DNS name or IP address that the server must prove.
    ///   - port: of the server; tickets are kept by it.
    ///   - hasEarlyData: whether there is something to send before the handshake is done.
    package func makeSession(
        for flavour: TLSFlavour, applicationProtocols: [String], serverName: String, port: Int = 0,
        hasEarlyData: Bool = false
    ) throws(TransportError) -> TLSSession {
        let resumption = self.cache.map { cache in
            let key = TLSSessionCache.Key(
                serverName: serverName, port: port, flavour: flavour, applicationProtocols: applicationProtocols,
                trust: self.trust, identity: nil)
            return ClientResumption(
                cache: cache, key: key, entry: cache.take(key), offersEarlyData: hasEarlyData && self.sendsEarlyData)
        }
        return try TLSSession(
            .client(serverName: serverName, self.trust), flavour, credentials: self.credentials,
            applicationProtocols: applicationProtocols, resumption: resumption)
    }
}

/// What all sessions of a server share: loaded once, used on any thread.
package struct TLSServerContext: Sendable {
    private let credentials: Credentials
    private let resumption: ServerResumption?

    package init(_ configuration: TLSServerConfiguration) throws(TLSError) {
        self.credentials = configuration.identity.credentials
        self.resumption = try configuration.tickets.map { tickets throws(TLSError) in
            try ServerResumption(tickets, earlyData: configuration.earlyData)
        }
    }

    package func makeSession(
        for flavour: TLSFlavour, applicationProtocols: [String]
    ) throws(TransportError) -> TLSSession {
        try TLSSession(
            .server(self.resumption), flavour, credentials: self.credentials,
            applicationProtocols: applicationProtocols)
    }
}
