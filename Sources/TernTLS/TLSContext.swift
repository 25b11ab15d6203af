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

    package init(_ configuration: TLSClientConfiguration) throws(TLSError) {
        self.credentials = try Credentials()
        self.trust = configuration.trust
        try self.credentials.trust(configuration.trust)
    }

    /// - Parameter serverName: the DNS name or IP address that the server must prove.
    package func makeSession(
        for flavour: TLSFlavour, applicationProtocols: [String], serverName: String
    ) throws(TransportError) -> TLSSession {
        try TLSSession(
            .client(serverName: serverName, self.trust), flavour, credentials: self.credentials,
            applicationProtocols: applicationProtocols)
    }
}

/// What all sessions of a server share: loaded once, used on any thread.
package struct TLSServerContext: Sendable {
    private let credentials: Credentials

    package init(_ configuration: TLSServerConfiguration) throws(TLSError) {
        self.credentials = configuration.identity.credentials
    }

    package func makeSession(
        for flavour: TLSFlavour, applicationProtocols: [String]
    ) throws(TransportError) -> TLSSession {
        try TLSSession(.server, flavour, credentials: self.credentials, applicationProtocols: applicationProtocols)
    }
}
