// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix

/// A NAT: datagrams of one client go to a server from a port that may change, and the answers come back.
///
/// Confined to its event loop; the initial state is made before anybody else sees it.
final class UDPRelay: @unchecked Sendable {
    private let eventLoop: any EventLoop
    private let server: SocketAddress
    private var front: (any Channel)?
    private var back: (any Channel)?
    private var client: SocketAddress?
    private var isRebinding = false
    /// Datagrams that went to the server, and how often the port changed.
    private var forwarded = 0
    private var rebindings = 0
    /// Called for each datagram to the server, with its number; `true` changes the port before it leaves.
    private let rebindsBefore: (Int) -> Bool
    private var waiting: [ByteBuffer] = []

    private init(server: SocketAddress, eventLoop: any EventLoop, rebindsBefore: @escaping (Int) -> Bool) {
        self.server = server
        self.eventLoop = eventLoop
        self.rebindsBefore = rebindsBefore
    }

    /// - Parameter rebindsBefore: whether the port changes before the n-th datagram (from 0) to the server leaves.
    static func start(
        to server: SocketAddress, on eventLoop: any EventLoop,
        rebindsBefore: @escaping @Sendable (Int) -> Bool = { _ in false }
    ) async throws -> UDPRelay {
        let relay = UDPRelay(server: server, eventLoop: eventLoop, rebindsBefore: rebindsBefore)
        try await eventLoop.flatSubmit {
            relay.open { relay.fromClient($0) }.flatMap { front in
                relay.front = front
                return relay.open { relay.fromServer($0) }
            }.map { relay.back = $0 }
        }.get()
        return relay
    }

    /// Where the client finds it.
    var address: SocketAddress {
        get async throws { try await self.eventLoop.submit { self.front!.localAddress! }.get() }
    }

    var counts: (forwarded: Int, rebindings: Int) {
        get async throws { try await self.eventLoop.submit { (self.forwarded, self.rebindings) }.get() }
    }

    /// The server's datagrams to the old port are lost from now on.
    func rebind() -> EventLoopFuture<Void> {
        self.eventLoop.flatSubmit { self.changePort() }
    }

    func stop() async throws {
        try await self.eventLoop.submit {
            self.front?.close(promise: nil)
            self.back?.close(promise: nil)
        }.get()
    }

    private func open(_ onDatagram: @escaping (AddressedEnvelope<ByteBuffer>) -> Void) -> EventLoopFuture<any Channel> {
        let handler = NIOLoopBound(RelayHandler(onDatagram), eventLoop: self.eventLoop)
        let any = self.server.protocol == .inet6 ? "::1" : "127.0.0.1"
        return DatagramBootstrap(group: self.eventLoop)
            .channelOption(.socketOption(.so_rcvbuf), value: 4 << 20)
            .channelOption(.socketOption(.so_sndbuf), value: 4 << 20)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 2048))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(handler.value)
                }
            }
            .bind(host: any, port: 0)
    }

    private func changePort() -> EventLoopFuture<Void> {
        self.rebindings += 1
        self.isRebinding = true
        self.back?.close(promise: nil)
        self.back = nil
        return self.open { self.fromServer($0) }.map { channel in
            self.back = channel
            self.isRebinding = false
            let waiting = self.waiting
            self.waiting = []
            for datagram in waiting { self.toServer(datagram) }
        }
    }

    private func fromClient(_ envelope: AddressedEnvelope<ByteBuffer>) {
        self.client = envelope.remoteAddress
        let number = self.forwarded
        self.forwarded += 1
        if self.isRebinding { return self.waiting.append(envelope.data) }
        guard self.rebindsBefore(number) else { return self.toServer(envelope.data) }
        self.waiting.append(envelope.data)
        self.changePort().whenFailure { _ in }
    }

    private func toServer(_ datagram: ByteBuffer) {
        self.back?.writeAndFlush(AddressedEnvelope(remoteAddress: self.server, data: datagram), promise: nil)
    }

    private func fromServer(_ envelope: AddressedEnvelope<ByteBuffer>) {
        guard let client else { return }
        self.front?.writeAndFlush(AddressedEnvelope(remoteAddress: client, data: envelope.data), promise: nil)
    }
}

private final class RelayHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let onDatagram: (AddressedEnvelope<ByteBuffer>) -> Void

    init(_ onDatagram: @escaping (AddressedEnvelope<ByteBuffer>) -> Void) {
        self.onDatagram = onDatagram
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.onDatagram(self.unwrapInboundIn(data))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}
