// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

/// Why a connection, a stream or an operation on them failed.
///
/// `code` says what kind of failure it is; the other fields fill in what that kind carries. Equality compares the kind and the
/// numbers, never the text.
public struct TransportError: Error, Sendable {
    /// What kind of failure it is. Grows without breaking callers.
    public var code: Code
    /// The code on the wire, if there was one: of the transport (RFC 9000, section 20.1) for ``Code/transport``, of the
    /// application for ``Code/application``, ``Code/streamReset`` and ``Code/streamStopped``.
    public var wireCode: UInt64?
    /// The frame type that a transport error names (RFC 9000, section 19.19).
    public var frameType: UInt64?
    /// Whether this end or the peer caused it.
    public var initiator: Initiator
    /// A sentence for people: the reason phrase of the peer, or our own.
    public var message: String
    /// Whether the peer's application surely did not see the operation, so that doing it again cannot do it twice.
    public var isRetrySafe: Bool
    /// What lies beneath, such as an errno.
    public var cause: (any Error)?

    public init(
        _ code: Code, message: String, wireCode: UInt64? = nil, frameType: UInt64? = nil,
        initiator: Initiator = .local, isRetrySafe: Bool = false, cause: (any Error)? = nil
    ) {
        self.code = code
        self.wireCode = wireCode
        self.frameType = frameType
        self.initiator = initiator
        self.message = message
        self.isRetrySafe = isRetrySafe
        self.cause = cause
    }

    /// Which end caused a failure.
    public enum Initiator: Sendable, Hashable {
        /// This end.
        case local
        /// The other end.
        case peer
    }

    /// What kinds of failures there are.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case application, transport, handshakeFailed, certificateRejected, connectionRefused, unreachable, timedOut
            case idleTimeout, carrierLost, streamReset, streamStopped, streamFinished, limitExceeded, misuse, cancelled
            case undelivered
            case cannotListen
        }

        private let kind: Kind

        /// The connection was closed by an application (CONNECTION_CLOSE 0x1d), with `wireCode` and reason; 0 is a clean close.
        public static let application = Code(kind: .application)
        /// The connection was closed because an end broke the protocol or failed (CONNECTION_CLOSE 0x1c).
        public static let transport = Code(kind: .transport)
        /// No connection came about: TLS, ALPN or version negotiation failed.
        public static let handshakeFailed = Code(kind: .handshakeFailed)
        /// The peer's certificate is not trusted, or not for this name.
        public static let certificateRejected = Code(kind: .certificateRejected)
        /// Nobody listens there.
        public static let connectionRefused = Code(kind: .connectionRefused)
        /// No route, or the name does not resolve.
        public static let unreachable = Code(kind: .unreachable)
        /// A deadline passed before the connection was established.
        public static let timedOut = Code(kind: .timedOut)
        /// Nothing was heard for the negotiated idle timeout (RFC 9000, section 10.1).
        public static let idleTimeout = Code(kind: .idleTimeout)
        /// What carried the connection broke: a TCP reset, an end of file without a close, a stateless reset, or no
        /// acknowledgement for ``ConnectionLimits/unacknowledgedTimeout``.
        public static let carrierLost = Code(kind: .carrierLost)
        /// The peer abandoned sending on this stream (RESET_STREAM), with `wireCode`.
        public static let streamReset = Code(kind: .streamReset)
        /// The peer does not want more of this stream (STOP_SENDING), with `wireCode`.
        public static let streamStopped = Code(kind: .streamStopped)
        /// The operation came after this end finished or reset the stream.
        public static let streamFinished = Code(kind: .streamFinished)
        /// Something is larger than a limit allows, such as a datagram.
        public static let limitExceeded = Code(kind: .limitExceeded)
        /// The caller used the API wrongly, such as writing to a stream that only receives.
        public static let misuse = Code(kind: .misuse)
        /// The local side gave up before it was done.
        public static let cancelled = Code(kind: .cancelled)
        /// The address to listen on can't be had: it is in use, not of this machine, or not permitted.
        public static let cannotListen = Code(kind: .cannotListen)

        /// The connection ended before it was known that everything that was written has arrived; the cause says why.
        public static let undelivered = Code(kind: .undelivered)

        public var description: String { self.kind.rawValue }
    }
}

extension TransportError: Equatable {
    public static func == (left: TransportError, right: TransportError) -> Bool {
        left.code == right.code && left.wireCode == right.wireCode && left.initiator == right.initiator
    }
}

extension TransportError: CustomStringConvertible {
    /// One line, as whatever the peer may have put into ``message`` is made printable. ``message`` has it as it came.
    public var description: String {
        var text = "\(self.code)"
        if let wireCode { text += "(0x\(String(wireCode, radix: 16)))" }
        if self.initiator == .peer { text += " by the peer" }
        let message = self.message.printable(atMost: 2048)
        if !message.isEmpty { text += ": \(message)" }
        if let cause = self.causeText?.printable(), !text.contains(cause) { text += " (\(cause))" }
        return text
    }
}

extension TransportError {
    /// What was sent stayed unacknowledged for ``ConnectionLimits/unacknowledgedTimeout``.
    package static func unacknowledged(
        for timeout: TimeAmount, how: String, cause: (any Error)? = nil
    ) -> TransportError {
        TransportError(
            .carrierLost,
            message:
                "the peer acknowledged nothing of what was sent for \(timeout.inWords) (unacknowledgedTimeout, \(how))",
            cause: cause)
    }
}

extension TimeAmount {
    /// As people write it: `30 s`, `1.5 s`, `250 ms`.
    package var inWords: String {
        let milliseconds = self.nanoseconds / 1_000_000
        guard milliseconds >= 1000 else { return milliseconds > 0 ? "\(milliseconds) ms" : "\(self.nanoseconds) ns" }
        guard milliseconds % 1000 != 0 else { return "\(milliseconds / 1000) s" }
        return "\(Double(milliseconds) / 1000) s"
    }
}

extension TransportError {
    /// What lies beneath, in the system's words where it is an errno.
    private var causeText: String? {
        switch self.cause {
        case let cause as IOError where self.message.contains(cause.systemWords): nil
        // It was made of what the cause says, and says it in its own way.
        case let cause as TransportError where !cause.message.isEmpty && self.message.contains(cause.message):
            cause.causeText
        case let cause as IOError: "\(cause.systemWords), errno \(cause.errnoCode)"
        // A message that was made of the cause's says it already.
        case let cause as TransportError where !cause.message.isEmpty && self.message.contains(cause.message): nil
        // NIO's names for what the message says in words.
        case is ChannelError, nil: nil
        case let cause?: "\(cause)"
        }
    }
}

/// The transport error codes that both carriers share (RFC 9000, section 20.1).
public enum TransportErrorCode {
    /// Nothing went wrong.
    public static let noError: UInt64 = 0x0
    /// The end that closes failed in itself.
    public static let internalError: UInt64 = 0x1
    /// The server does not take the connection.
    public static let connectionRefused: UInt64 = 0x2
    /// More data came than was allowed.
    public static let flowControlError: UInt64 = 0x3
    /// More streams were opened than were allowed.
    public static let streamLimitError: UInt64 = 0x4
    /// A frame came for a stream that cannot have it.
    public static let streamStateError: UInt64 = 0x5
    /// A stream changed its end.
    public static let finalSizeError: UInt64 = 0x6
    /// A frame is malformed.
    public static let frameEncodingError: UInt64 = 0x7
    /// The transport parameters are not acceptable.
    public static let transportParameterError: UInt64 = 0x8
    /// Something else that the protocol forbids.
    public static let protocolViolation: UInt64 = 0xa
    /// The application closed the connection before the handshake was done.
    public static let applicationError: UInt64 = 0xc
}
