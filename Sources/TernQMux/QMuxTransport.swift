// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// What client and server sockets have in common.
enum QMuxTransport {
    /// Small, so that what is urgent overtakes; large enough for a full socket buffer between two turns.
    static let watermarks = ChannelOptions.Types.WriteBufferWaterMark(low: 128 << 10, high: 512 << 10)

    /// One record is 16 KiB; reading several at once costs one call.
    static let receiveBuffers = AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 4 << 10, maximum: 256 << 10)

    /// Sets the options of a socket that is about to connect or to listen.
    static func configure(
        _ channel: any Channel, _ options: TCPOptions, _ limits: ConnectionLimits
    ) throws(TransportError) {
        try TCPSocket(channel)?.apply(options, unacknowledgedTimeout: limits.unacknowledgedTimeout)
    }

    /// What it means that an established connection broke with `error`.
    static func lostError(_ error: any Error, limits: ConnectionLimits) -> TransportError {
        if let error = error as? TransportError { return error }
        switch Self.errno(of: error) {
        case ETIMEDOUT:
            // Nothing else times out here: the kernel's keep-alive is not used.
            guard let timeout = limits.unacknowledgedTimeout else {
                return TransportError(.carrierLost, message: "the kernel gave up sending over TCP again")
            }
            return .unacknowledged(for: timeout, how: "TCP_USER_TIMEOUT")
        case ECONNRESET, EPIPE:
            return TransportError(.carrierLost, message: "the peer reset the TCP connection", initiator: .peer)
        case let errno?:
            return TransportError(
                .carrierLost, message: "the TCP connection broke: \(String(cString: strerror(errno)))", cause: error)
        case nil:
            return TransportError(.carrierLost, message: "the TCP connection broke", cause: error)
        }
    }

    /// What a failed TCP connect means.
    static func connectError(_ error: any Error) -> TransportError {
        if let error = error as? TransportError { return error }
        return switch Self.errno(of: error) {
        case ECONNREFUSED:
            TransportError(
                .connectionRefused, message: "nobody listens there", initiator: .peer, isRetrySafe: true, cause: error)
        case ETIMEDOUT:
            TransportError(.timedOut, message: "TCP did not connect in time", isRetrySafe: true, cause: error)
        case .some:
            TransportError(.unreachable, message: "TCP did not connect", isRetrySafe: true, cause: error)
        case .none:
            TransportError(
                error is ChannelError ? .timedOut : .unreachable, message: "TCP did not connect", isRetrySafe: true,
                cause: error)
        }
    }

    private static func errno(of error: any Error) -> CInt? {
        (error as? IOError)?.errnoCode
    }
}
