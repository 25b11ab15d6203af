// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Why a message or a request was refused. 16 bits, in error messages and in the status of a response; 0 is success.
public struct ErrorCode: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: UInt16

    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    public static let none = ErrorCode(rawValue: 0)
    /// The server failed; the same may work later.
    public static let `internal` = ErrorCode(rawValue: 0x01)
    /// The server is about to stop; go elsewhere, or come back.
    public static let draining = ErrorCode(rawValue: 0x02)
    /// The client cancelled the request.
    public static let cancelled = ErrorCode(rawValue: 0x03)

    public static let malformed = ErrorCode(rawValue: 0x10)
    public static let unsupportedVersion = ErrorCode(rawValue: 0x11)
    public static let unknownCriticalExtension = ErrorCode(rawValue: 0x12)
    public static let payloadTooLarge = ErrorCode(rawValue: 0x13)
    /// A message type that may not be sent here.
    public static let unsupportedType = ErrorCode(rawValue: 0x14)
    public static let unsupportedResource = ErrorCode(rawValue: 0x15)
    public static let invalidName = ErrorCode(rawValue: 0x16)
    /// A message for another receiver than the first one of its stream.
    public static let wrongChannel = ErrorCode(rawValue: 0x17)

    public static let unauthenticated = ErrorCode(rawValue: 0x20)
    public static let tokenExpired = ErrorCode(rawValue: 0x21)
    public static let wrongAudience = ErrorCode(rawValue: 0x22)
    public static let tokenNotYetValid = ErrorCode(rawValue: 0x23)

    public static let noSuchUser = ErrorCode(rawValue: 0x30)
    public static let noSuchChannel = ErrorCode(rawValue: 0x31)
    public static let notAMember = ErrorCode(rawValue: 0x32)
    public static let alreadyExists = ErrorCode(rawValue: 0x33)
    /// The same client message id was used for another message.
    public static let conflict = ErrorCode(rawValue: 0x34)
    public static let groupFull = ErrorCode(rawValue: 0x35)
    /// The user has made, or takes part in, as much as the server allows one user.
    public static let quotaExceeded = ErrorCode(rawValue: 0x36)
    /// The group is closed and no member invited the user, or there is no such group.
    public static let notInvited = ErrorCode(rawValue: 0x37)

    /// The disk is full or failed; the server only reads until an operator helped. Nothing was stored.
    public static let storageFull = ErrorCode(rawValue: 0x40)
    public static let rateLimited = ErrorCode(rawValue: 0x41)
    public static let tooManyRequests = ErrorCode(rawValue: 0x42)

    /// Whether the same message or request may succeed later, unchanged. What the server says in its answer has
    /// precedence.
    public var isRetryable: Bool {
        switch self {
        case .internal, .draining, .storageFull, .rateLimited, .tooManyRequests: true
        default: false
        }
    }

    /// The name in Docs/PROTOCOL.md, such as `payload-too-large`.
    public var description: String { Self.names[self] ?? "error-\(self.rawValue)" }

    private static let names: [ErrorCode: String] = [
        .none: "none", .internal: "internal", .draining: "draining", .cancelled: "cancelled", .malformed: "malformed",
        .unsupportedVersion: "unsupported-version", .unknownCriticalExtension: "unknown-critical-extension",
        .payloadTooLarge: "payload-too-large", .unsupportedType: "unsupported-type",
        .unsupportedResource: "unsupported-resource", .invalidName: "invalid-name", .wrongChannel: "wrong-channel",
        .unauthenticated: "unauthenticated", .tokenExpired: "token-expired", .wrongAudience: "wrong-audience",
        .tokenNotYetValid: "token-not-yet-valid", .noSuchUser: "no-such-user", .noSuchChannel: "no-such-channel",
        .notAMember: "not-a-member", .alreadyExists: "already-exists", .conflict: "conflict", .groupFull: "group-full",
        .quotaExceeded: "quota-exceeded", .notInvited: "not-invited",
        .storageFull: "storage-full", .rateLimited: "rate-limited", .tooManyRequests: "too-many-requests",
    ]
}
