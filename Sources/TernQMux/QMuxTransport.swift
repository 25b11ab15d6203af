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

    /// What it means that an established connection to `peer` broke with `error`.
    static func lostError(_ error: any Error, limits: ConnectionLimits, peer: SocketAddress? = nil) -> TransportError {
        if let error = error as? TransportError { return error }
        let connection = peer.map { "the TCP connection with \($0.hostAndPort)" } ?? "the TCP connection"
        switch Self.errno(of: error) {
        case ETIMEDOUT:
            // Nothing else times out here: the kernel's keep-alive is not used.
            guard let timeout = limits.unacknowledgedTimeout else {
                return TransportError(
                    .carrierLost, message: "\(connection) broke: the kernel gave up sending again", cause: error)
            }
            return .unacknowledged(for: timeout, how: "TCP_USER_TIMEOUT", cause: error)
        case ECONNRESET, EPIPE:
            return TransportError(.carrierLost, message: "the peer reset \(connection)", initiator: .peer, cause: error)
        case _:
            return TransportError(.carrierLost, message: "\(connection) broke", cause: error)
        }
    }

    /// What a failed TCP connect to `address` means.
    static func connectError(_ error: any Error, to address: SocketAddress, limits: ConnectionLimits) -> TransportError
    {
        if let error = error as? TransportError { return error }
        switch Self.errno(of: error) {
        case ECONNREFUSED:
            return TransportError(
                .connectionRefused,
                message: "nobody listens at \(address.hostAndPort) over TCP",
                initiator: .peer, isRetrySafe: true, cause: error)
        case ECONNRESET:
            // A listener that closes resets what its kernel had taken for it.
            return TransportError(
                .connectionRefused, message: "\(address.hostAndPort) reset the TCP connection before it accepted it",
                initiator: .peer, isRetrySafe: true, cause: error)
        case ETIMEDOUT:
            return Self.slow(address, limits)
        case .some:
            return TransportError(
                .unreachable, message: "\(address.hostAndPort) cannot be reached over TCP", isRetrySafe: true,
                cause: error)
        case .none:
            // NIO's own words for a connect that takes longer than it was given.
            guard error is ChannelError else {
                return TransportError(
                    .unreachable, message: "\(address.hostAndPort) cannot be reached over TCP", isRetrySafe: true,
                    cause: error)
            }
            return Self.slow(address, limits)
        }
    }

    private static func slow(_ address: SocketAddress, _ limits: ConnectionLimits) -> TransportError {
        TransportError(
            .timedOut,
            message: "\(address.hostAndPort) did not answer over TCP for \(limits.handshakeTimeout.inWords)",
            isRetrySafe: true)
    }

    private static func errno(of error: any Error) -> CInt? {
        (error as? IOError)?.errnoCode
    }
}
