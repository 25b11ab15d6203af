// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernTLS
import TernTransport

/// TLS for the tests' two ends.
enum Sessions {
    /// A server called `localhost`, and the authority that signed it.
    static let server = Result { try TLSIdentity.selfSigned(for: ["localhost"]) }
    /// An authority that signed something else.
    static let stranger = Result { try TLSIdentity.selfSigned(for: ["localhost"]) }

    static func client(trustsServer: Bool, serverName: String, protocols: [String]) throws -> TLSSession {
        let pem = try (trustsServer ? self.server : self.stranger).get().certificateAuthorityPEM
        return try TLSClientContext(TLSClientConfiguration(trust: .certificateAuthorities(pem: pem)))
            .makeSession(for: .quic, applicationProtocols: protocols, serverName: serverName)
    }

    static func server(protocols: [String], sendsTickets: Bool = true) throws -> TLSSession {
        var configuration = TLSServerConfiguration(identity: try self.server.get().identity)
        if !sendsTickets { configuration.tickets = nil }
        return try TLSServerContext(configuration).makeSession(for: .quic, applicationProtocols: protocols)
    }
}
