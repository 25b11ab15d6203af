// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Why an identity or a trust can't be used. Never carries a key's bytes.
public struct TLSError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What kinds of failures there are.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case unreadableFile, malformed, keyMismatch, emptyTrust, generationFailed
        }

        private let kind: Kind

        /// A file can't be read; the message names it and the reason.
        public static let unreadableFile = Code(kind: .unreadableFile)
        /// Not PEM, or not of the expected kind.
        public static let malformed = Code(kind: .malformed)
        /// The private key is not that of the certificate.
        public static let keyMismatch = Code(kind: .keyMismatch)
        /// A trust without a single certificate authority or pin would refuse every peer.
        public static let emptyTrust = Code(kind: .emptyTrust)
        /// A key or certificate could not be made.
        public static let generationFailed = Code(kind: .generationFailed)

        public var description: String { self.kind.rawValue }
    }

    public var code: Code
    public var message: String

    public init(_ code: Code, message: String) {
        self.code = code
        self.message = message
    }

    public static func == (left: TLSError, right: TLSError) -> Bool { left.code == right.code }
    public var description: String { self.message }
}
