// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernQUIC

enum TestTLS {
    static func server() throws -> TLSServerConfiguration {
        TLSServerConfiguration(cert: "/tmp/qd/leaf.pem", key: "/tmp/qd/leaf.key")
    }
    static func client() throws -> TLSClientConfiguration {
        TLSClientConfiguration(ca: "/tmp/qd/ca.pem")
    }
    /// Trusts somebody else.
    static func stranger() throws -> TLSClientConfiguration {
        TLSClientConfiguration(ca: "/tmp/qd/other.pem")
    }
}
