// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import Synchronization

/// The switch that loses datagrams; thrown from any thread, looked at for every datagram.
final class UDPGate: Sendable {
    let isClosed = Atomic<Bool>(false)
    let dropped = Atomic<Int>(0)

    func lets() -> Bool {
        guard self.isClosed.load(ordering: .acquiring) else { return true }
        self.dropped.add(1, ordering: .relaxed)
        return false
    }
}

/// The side of the relay that clients see: each client address gets a socket of its own towards the server, as behind a NAT.
final class UDPFront: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    /// More clients than a demo has; one more is not served.
    private static let mostClients = 256
    /// Datagrams that may wait for the socket of a new client.
    private static let mostWaiting = 64

    private enum Mapping {
        case opening([ByteBuffer])
        case open(any Channel)
    }

    private let server: SocketAddress
    private let gate: UDPGate
    private var mappings: [SocketAddress: Mapping] = [:]

    init(server: SocketAddress, gate: UDPGate) {
        self.server = server
        self.gate = gate
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let datagram = self.unwrapInboundIn(data)
        guard self.gate.lets() else { return }
        switch self.mappings[datagram.remoteAddress] {
        case .open(let upstream):
            self.forward(datagram.data, to: upstream)
        case .opening(let waiting):
            guard waiting.count < Self.mostWaiting else { return }
            self.mappings[datagram.remoteAddress] = .opening(waiting + [datagram.data])
        case nil:
            guard self.mappings.count < Self.mostClients else { return }
            self.mappings[datagram.remoteAddress] = .opening([datagram.data])
            self.openMapping(for: datagram.remoteAddress, context: context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        for case .open(let upstream) in self.mappings.values { upstream.close(promise: nil) }
        self.mappings.removeAll()
        context.fireChannelInactive()
    }

    /// A socket's error is a network's error: the datagram is lost, the relay goes on.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}

    private func openMapping(for client: SocketAddress, context: ChannelHandlerContext) {
        let (front, server, gate) = (context.channel, self.server, self.gate)
        DatagramBootstrap(group: context.eventLoop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let back = UDPBack(front: front, client: client, server: server, gate: gate)
                    try channel.pipeline.syncOperations.addHandler(back)
                }
            }
            .bind(host: "127.0.0.1", port: 0)
            .assumeIsolated()
            .whenComplete { result in self.mappingOpened(for: client, result: result) }
    }

    private func mappingOpened(for client: SocketAddress, result: Result<any Channel, any Error>) {
        guard case .opening(let waiting)? = self.mappings[client], case .success(let upstream) = result else {
            self.mappings[client] = nil
            return
        }
        self.mappings[client] = .open(upstream)
        upstream.closeFuture.assumeIsolated().whenComplete { _ in self.mappings[client] = nil }
        for datagram in waiting { self.forward(datagram, to: upstream) }
    }

    private func forward(_ bytes: ByteBuffer, to upstream: any Channel) {
        upstream.writeAndFlush(AddressedEnvelope(remoteAddress: self.server, data: bytes), promise: nil)
    }
}

/// The side of the relay that the server sees: one client's socket.
private final class UDPBack: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let front: any Channel
    private let client: SocketAddress
    private let server: SocketAddress
    private let gate: UDPGate

    init(front: any Channel, client: SocketAddress, server: SocketAddress, gate: UDPGate) {
        self.front = front
        self.client = client
        self.server = server
        self.gate = gate
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let datagram = self.unwrapInboundIn(data)
        guard datagram.remoteAddress == self.server, self.gate.lets() else { return }
        self.front.write(AddressedEnvelope(remoteAddress: self.client, data: datagram.data), promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.front.flush()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}
