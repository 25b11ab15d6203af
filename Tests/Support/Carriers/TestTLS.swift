// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernTLS

/// One identity for all tests: a key takes time to make.
package enum TestTLS {
    private static let identity = Result { try TLSIdentity.selfSigned(for: ["localhost", "127.0.0.1", "::1"]) }
    private static let other = Result { try TLSIdentity.selfSigned(for: ["localhost"]) }

    package static func server() throws -> TLSServerConfiguration {
        TLSServerConfiguration(identity: try self.identity.get().identity)
    }

    package static func client() throws -> TLSClientConfiguration {
        TLSClientConfiguration(trust: .certificateAuthorities(pem: try self.identity.get().certificateAuthorityPEM))
    }

    /// Trusts somebody else.
    package static func stranger() throws -> TLSClientConfiguration {
        TLSClientConfiguration(trust: .certificateAuthorities(pem: try self.other.get().certificateAuthorityPEM))
    }
}
