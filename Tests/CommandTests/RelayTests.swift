// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import Testing

@testable import demo

/// The stretch of network that the demo puts between clients and server.
@Suite(.timeLimit(.minutes(10)))
struct RelayTests {
    private let group = MultiThreadedEventLoopGroup.singleton

    @Test("Datagrams come back to the client that they are for, and to nobody else")
    func datagramsFindTheirWayBack() async throws {
        let server = try await UDPEcho.start(on: self.group)
        let relay = try await Relay.start(forwardingTo: try server.address, on: self.group.next())
        let one = try await UDPPeer.start(on: self.group)
        let other = try await UDPPeer.start(on: self.group)
        var (oneInbound, otherInbound) = (one.received.makeAsyncIterator(), other.received.makeAsyncIterator())

        for number in 0..<20 {
            try await one.send("one \(number)", to: relay.address)
            try await other.send("other \(number)", to: relay.address)
            #expect(await oneInbound.next() == "one \(number)")
            #expect(await otherInbound.next() == "other \(number)")
        }
        try await relay.stop()
        try await self.close(one.channel, other.channel, server.channel)
    }

    @Test("A closed gate loses every datagram and no byte of TCP")
    func closedGateLosesDatagramsOnly() async throws {
        let (udp, tcp) = try await self.startEchoOfBothProtocols()
        let relay = try await Relay.start(forwardingTo: try udp.address, on: self.group.next())
        let peer = try await UDPPeer.start(on: self.group)
        var inbound = peer.received.makeAsyncIterator()

        try await peer.send("before", to: relay.address)
        #expect(await inbound.next() == "before")
        relay.blockUDP()
        try await peer.send("lost", to: relay.address)
        // One event loop carries both protocols: when the bytes are back, the datagram had its turn.
        #expect(try await self.echoOverTCP(String(repeating: "x", count: 300_000), at: relay.address).count == 300_000)
        while relay.droppedDatagrams < 1 { await Task.yield() }
        relay.unblockUDP()
        try await peer.send("after", to: relay.address)
        #expect(await inbound.next() == "after")
        #expect(relay.droppedDatagrams == 1)
        try await relay.stop()
        try await self.close(peer.channel, tcp, udp.channel)
    }

    /// On one port; another program may hold the number of the first one's choice for the second.
    private func startEchoOfBothProtocols() async throws -> (udp: UDPEcho, tcp: any Channel) {
        while true {
            let udp = try await UDPEcho.start(on: self.group)
            let tcp = try? await ServerBootstrap(group: self.group)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(TCPEcho()) }
                }
                .bind(to: try udp.address).get()
            if let tcp { return (udp, tcp) }
            try await udp.channel.close()
        }
    }

    private func echoOverTCP(_ text: String, at address: SocketAddress) async throws -> String {
        let client = try await ClientBootstrap(group: self.group)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .connect(to: address) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
                }
            }
        return try await client.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: text))
            outbound.finish()
            var answer = ByteBuffer()
            for try await bytes in inbound { answer.writeImmutableBuffer(bytes) }
            return String(buffer: answer)
        }
    }

    private func close(_ channels: any Channel...) async throws {
        for channel in channels { try await channel.close() }
    }
}

/// Answers every datagram with itself.
private struct UDPEcho {
    let channel: any Channel

    var address: SocketAddress {
        get throws { try #require(self.channel.localAddress) }
    }

    static func start(on group: any EventLoopGroup) async throws -> UDPEcho {
        let channel = try await DatagramBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Handler()) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return UDPEcho(channel: channel)
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let datagram = self.unwrapInboundIn(data)
            context.channel.writeAndFlush(
                AddressedEnvelope(remoteAddress: datagram.remoteAddress, data: datagram.data), promise: nil)
        }
    }
}

/// Sends texts and keeps what comes.
private struct UDPPeer {
    let channel: any Channel
    let received: AsyncStream<String>

    static func start(on group: any EventLoopGroup) async throws -> UDPPeer {
        let (received, arrivals) = AsyncStream.makeStream(of: String.self)
        let channel = try await DatagramBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(arrivals: arrivals))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return UDPPeer(channel: channel, received: received)
    }

    func send(_ text: String, to address: SocketAddress) async throws {
        try await self.channel.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: ByteBuffer(string: text)))
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        private let arrivals: AsyncStream<String>.Continuation

        init(arrivals: AsyncStream<String>.Continuation) {
            self.arrivals = arrivals
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.arrivals.yield(String(buffer: self.unwrapInboundIn(data).data))
        }
    }
}

private final class TCPEcho: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.channel.writeAndFlush(self.unwrapInboundIn(data), promise: nil)
    }
}
