// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// The async surface throws ``TransportError`` and `CancellationError`, whatever lies beneath.
extension TransportError {
    static func eventLoopIsShutDown(cause: (any Error)? = nil) -> TransportError {
        TransportError(.cancelled, message: "the event loop of the connection is shut down", cause: cause)
    }

    static func orCancellation(_ error: any Error) -> any Error {
        switch error {
        case is TransportError, is CancellationError: error
        case is EventLoopError:
            Self.eventLoopIsShutDown(cause: error)
        default:
            TransportError(.carrierLost, message: "the connection's socket failed", cause: error)
        }
    }
}
