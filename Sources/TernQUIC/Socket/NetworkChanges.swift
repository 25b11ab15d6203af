// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
package import NIOCore
internal import NIOPosix
internal import Synchronization
internal import TernTransport

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// What the kernel tells of the machine's addresses and routes.
package enum NetworkChanges {
    /// An element for each time that addresses or routes changed; those that come before the last was taken count as one. Ends, at
    /// once where the kernel tells nothing.
    package static func stream(on eventLoop: any EventLoop) -> AsyncStream<Void> {
        Self.stream(of: tern_network_changes_open(), on: eventLoop)
    }

    /// - Parameter descriptor: which is the stream's from now on: where a change can be read; negative where there is none.
    static func stream(of descriptor: Int32, on eventLoop: any EventLoop) -> AsyncStream<Void> {
        let (stream, sink) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        guard descriptor >= 0 else {
            sink.finish()
            return stream
        }
        // Before there is a channel: who stops to listen at once must not leave it open.
        let listening = Listening()
        sink.onTermination = { _ in listening.end() }
        NIOPipeBootstrap(group: eventLoop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ChangeHandler(sink))
                }
            }
            .takingOwnershipOfDescriptor(input: descriptor)
            .whenComplete { result in
                switch result {
                case .success(let channel): listening.opened(channel)
                case .failure:
                    // It was not taken.
                    close(descriptor)
                    sink.finish()
                }
            }
        return stream
    }

    /// The address from which the routing table would send to `destination` now, without a port; `nil` where there is no way.
    package static func sourceAddress(towards destination: SocketAddress) -> SocketAddress? {
        let descriptor = destination.withSockAddr { address, _ in tern_udp_probe_open(address) }
        guard descriptor >= 0 else { return nil }
        defer { tern_udp_probe_close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = tern_udp_probe_local_address(descriptor, &bytes)
        guard count > 0 else { return nil }
        return try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes.prefix(count)), port: 0)
    }
}

/// Closes the channel when nobody listens any more, whichever of the two comes first.
private final class Listening: Sendable {
    private struct State {
        var channel: (any Channel)?
        var isOver = false
    }

    private let state = Mutex(State())

    func opened(_ channel: any Channel) {
        let isOver = self.state.withLock { state in
            state.channel = channel
            return state.isOver
        }
        if isOver { channel.close(promise: nil) }
    }

    func end() {
        let channel = self.state.withLock { state in
            state.isOver = true
            return state.channel.take()
        }
        channel?.close(promise: nil)
    }
}

private final class ChangeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let sink: AsyncStream<Void>.Continuation

    init(_ sink: AsyncStream<Void>.Continuation) {
        self.sink = sink
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.sink.yield()
    }

    /// More changed than the socket had room for (ENOBUFS): that is a change, and the end of this socket.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.sink.yield()
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.sink.finish()
    }
}
