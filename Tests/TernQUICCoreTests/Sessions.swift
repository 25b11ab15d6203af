// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernTLS
import TernTransport
@testable import TernQUICCore

/// TLS for the tests' two ends.
enum Sessions {
    static func client(authority: String, serverName: String, protocols: [String]) throws -> TLSSession {
        TLSSession(isClient: true, certificate: nil, key: nil, authority: authority, serverName: serverName, alpn: protocols)
    }

    static func server(protocols: [String]) throws -> TLSSession {
        TLSSession(
            isClient: false, certificate: TestCertificates.certificate, key: TestCertificates.key, authority: nil,
            serverName: nil, alpn: protocols)
    }
}
