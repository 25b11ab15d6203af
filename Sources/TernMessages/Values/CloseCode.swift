// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The application error codes that close a connection (CONNECTION_CLOSE 0x1d) or end a stream (RESET_STREAM,
/// STOP_SENDING).
public struct CloseCode: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// A clean close.
    public static let none = CloseCode(rawValue: 0)

    // Of connections.
    public static let internalError = CloseCode(rawValue: 0x100)
    public static let protocolViolation = CloseCode(rawValue: 0x101)
    /// The token was refused; an error message on the control stream said why.
    public static let authenticationFailed = CloseCode(rawValue: 0x102)
    /// No authentication came in time.
    public static let authenticationTimeout = CloseCode(rawValue: 0x103)
    public static let unsupportedVersion = CloseCode(rawValue: 0x104)
    public static let draining = CloseCode(rawValue: 0x105)
    /// The same device of the same user connected again.
    public static let replaced = CloseCode(rawValue: 0x106)
    public static let tooManyConnections = CloseCode(rawValue: 0x107)
    /// The token with which the connection began is not accepted any more.
    public static let tokenExpired = CloseCode(rawValue: 0x108)
    /// The user has too many connections, all in use; an error message on the control stream said when to try again.
    public static let tooManyConnectionsOfUser = CloseCode(rawValue: 0x109)
    /// The connection was silent, and its user needed its place for another one.
    public static let gaveWay = CloseCode(rawValue: 0x10a)

    // Of streams.
    public static let streamCancelled = CloseCode(rawValue: 0x200)
    public static let unknownStreamKind = CloseCode(rawValue: 0x201)
    public static let streamMalformed = CloseCode(rawValue: 0x202)
    public static let streamUnsupportedVersion = CloseCode(rawValue: 0x203)
    public static let streamInternalError = CloseCode(rawValue: 0x204)
    public static let streamFrameTooLarge = CloseCode(rawValue: 0x205)
    public static let streamDraining = CloseCode(rawValue: 0x206)

    public var description: String { Self.names[self] ?? "0x\(String(self.rawValue, radix: 16))" }

    private static let names: [CloseCode: String] = [
        .none: "none", .internalError: "internal-error", .protocolViolation: "protocol-violation",
        .authenticationFailed: "authentication-failed", .authenticationTimeout: "authentication-timeout",
        .unsupportedVersion: "unsupported-version", .draining: "draining", .replaced: "replaced",
        .tooManyConnections: "too-many-connections", .tokenExpired: "token-expired",
        .tooManyConnectionsOfUser: "too-many-connections-of-user", .gaveWay: "gave-way",
        .streamCancelled: "stream-cancelled",
        .unknownStreamKind: "unknown-stream-kind", .streamMalformed: "stream-malformed",
        .streamUnsupportedVersion: "stream-unsupported-version", .streamInternalError: "stream-internal-error",
        .streamFrameTooLarge: "stream-frame-too-large", .streamDraining: "stream-draining",
    ]
}
