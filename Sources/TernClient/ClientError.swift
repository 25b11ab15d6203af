// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import TernMessages
internal import TernTransport

/// Why a ``MessageClient`` failed, or an operation of it.
public struct ClientError: Error, Sendable, CustomStringConvertible {
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case authenticationRefused, refused, unreachable, closed, protocolViolation, timedOut
        }

        private let kind: Kind

        /// The server does not accept the token; `failure` says why. Trying again does not help.
        public static let authenticationRefused = Code(kind: .authenticationRefused)
        /// The server answered with an error; `failure` has it.
        public static let refused = Code(kind: .refused)
        /// No connection came about, or none for longer than ``ReconnectPolicy/giveUpAfter``.
        public static let unreachable = Code(kind: .unreachable)
        /// The client was closed before the operation was done.
        public static let closed = Code(kind: .closed)
        /// The server sent what Docs/PROTOCOL.md does not allow.
        public static let protocolViolation = Code(kind: .protocolViolation)
        /// The server did not answer in time.
        public static let timedOut = Code(kind: .timedOut)

        public var description: String { self.kind.rawValue }
    }

    public var code: Code
    public var message: String
    /// What the server said.
    public var failure: Failure?
    public var cause: (any Error)?

    public init(_ code: Code, message: String, failure: Failure? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.failure = failure
        self.cause = cause
    }

    public var description: String {
        ("\(self.code): \(self.message)" + (self.cause.map { " (\($0))" } ?? "")).printable(atMost: 2_048)
    }

    static func refused(_ failure: Failure) -> ClientError {
        // For people, who may see it in a log or on a terminal; what the server wrote is in `failure`.
        let text = failure.text.isEmpty ? "\(failure.code)" : "\(failure.code): \(failure.text.printable())"
        return ClientError(.refused, message: text, failure: failure)
    }
}
