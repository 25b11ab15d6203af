// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import Crypto
internal import NIOCore

/// The key with which access tokens are signed and checked (HS256). Whoever has it can be any user.
public struct AccessSecret: Sendable {
    /// RFC 7518, section 3.2: a key of the same size as the hash output or larger MUST be used.
    public static let minimumBytes = 32

    package let key: SymmetricKey

    /// - Throws: ``AccessError/Code/weakSecret`` when there are fewer than ``minimumBytes`` bytes.
    public init(bytes: [UInt8]) throws(AccessError) {
        guard bytes.count >= Self.minimumBytes else {
            throw AccessError(
                .weakSecret, "the secret has \(bytes.count) bytes; \(Self.minimumBytes) or more are needed")
        }
        self.key = SymmetricKey(data: bytes)
    }

    /// A new secret from the system's random source.
    public static func random() -> AccessSecret {
        AccessSecret(key: SymmetricKey(size: .bits256))
    }

    private init(key: SymmetricKey) {
        self.key = key
    }
}

/// Why a token was refused.
public struct AccessError: Error, Sendable, Hashable, CustomStringConvertible {
    public enum Code: String, Sendable, Hashable {
        case weakSecret, malformed, unsupportedAlgorithm, wrongSignature, expired, notYetValid, wrongAudience, noSecret,
            invalidName
    }

    public var code: Code
    /// A sentence for people, without anything of the token.
    public var message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(self.code.rawValue): \(self.message)" }
}
