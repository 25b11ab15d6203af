// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernTransport

/// The peer broke the protocol: what our CONNECTION_CLOSE will say.
package struct QMuxViolation: Error, Hashable {
    /// RFC 9000, section 20.1.
    package var code: UInt64
    /// The frame that was wrong; 0 when it is not known (RFC 9000, section 19.19).
    package var frameType: UInt64
    package var reason: String

    static func frameEncoding(_ reason: String, _ frameType: UInt64 = 0) -> QMuxViolation {
        QMuxViolation(code: TransportErrorCode.frameEncodingError, frameType: frameType, reason: reason)
    }

    static func protocolViolation(_ reason: String, _ frameType: UInt64 = 0) -> QMuxViolation {
        QMuxViolation(code: TransportErrorCode.protocolViolation, frameType: frameType, reason: reason)
    }

    static func transportParameter(_ reason: String) -> QMuxViolation {
        QMuxViolation(
            code: TransportErrorCode.transportParameterError, frameType: QMuxFrameType.transportParameters,
            reason: reason)
    }

    static func flowControl(_ reason: String, _ frameType: UInt64) -> QMuxViolation {
        QMuxViolation(code: TransportErrorCode.flowControlError, frameType: frameType, reason: reason)
    }

    static func streamLimit(_ reason: String, _ frameType: UInt64) -> QMuxViolation {
        QMuxViolation(code: TransportErrorCode.streamLimitError, frameType: frameType, reason: reason)
    }

    static func streamState(_ reason: String, _ frameType: UInt64) -> QMuxViolation {
        QMuxViolation(code: TransportErrorCode.streamStateError, frameType: frameType, reason: reason)
    }

    static func finalSize(_ reason: String, _ frameType: UInt64) -> QMuxViolation {
        QMuxViolation(code: TransportErrorCode.finalSizeError, frameType: frameType, reason: reason)
    }
}
