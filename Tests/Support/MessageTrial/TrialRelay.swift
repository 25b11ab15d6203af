// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTesting

/// A stretch of network between clients and a server, for UDP and TCP on one port: what passes is delayed, lost and cut into pieces
/// by the rules of the simulated network, and connections break in every way that they can.
///
/// Everything happens on one event loop.
final class TrialRelay: Sendable {
    /// What is done to connections. Numbers choose one of those that are there.
    enum Disturbance: Sendable, Hashable {
        /// A TCP connection is reset; a QUIC client's address is never served again.
        case reset(Int)
        /// A TCP connection ends on both sides; a NAT forgets a QUIC client.
        case end(Int)
        /// Nothing passes any more on one connection, and nobody is told.
        case silence(Int)
        /// All connections are reset.
        case resetAll
        /// Nothing passes at all for a while.
        case outage(TimeAmount)
        /// How long things take from now on, and which part of the datagrams is lost.
        case weather(delay: TimeAmount, jitter: TimeAmount, loss: Double)
    }

    /// Where clients connect to, over UDP and TCP.
    let address: SocketAddress
    private let loop: any EventLoop
    private let core: NIOLoopBound<RelayCore>

    private init(address: SocketAddress, loop: any EventLoop, core: NIOLoopBound<RelayCore>) {
        self.address = address
        self.loop = loop
        self.core = core
    }

    /// Listens on a port of 127.0.0.1 that is free for both protocols.
    static func start(seed: UInt64) async throws -> TrialRelay {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let core = try await loop.submit { NIOLoopBound(RelayCore(seed: seed, loop: loop), eventLoop: loop) }.get()
        for _ in 0..<32 {
            let tcp = try await Self.listenTCP(core, on: loop)
            guard let address = tcp.localAddress else { throw ChannelError.unknownLocalAddress }
            do {
                let udp = try await Self.listenUDP(at: address, core, on: loop)
                try await loop.submit { core.value.listens(tcp: tcp, udp: udp) }.get()
                return TrialRelay(address: address, loop: loop, core: core)
            } catch {
                // The kernel chose the port for TCP; another program may hold the same number for UDP.
                try await tcp.close()
            }
        }
        throw TrialError("no port is free for both UDP and TCP")
    }

    /// Where the server is from now on; nowhere when `nil`.
    func serve(_ server: SocketAddress?) {
        self.tell { $0.server = server }
    }

    func disturb(_ disturbance: Disturbance) {
        self.tell { $0.disturb(disturbance) }
    }

    /// Datagrams, and pieces of byte streams, that clients sent.
    func sentByClients() async throws -> Int {
        let core = self.core
        return try await self.loop.submit { core.value.sentByClients }.get()
    }

    func stop() async {
        let core = self.core
        try? await self.loop.flatSubmit { core.value.stop() }.get()
    }

    private func tell(_ body: @escaping @Sendable (RelayCore) -> Void) {
        let core = self.core
        self.loop.execute { body(core.value) }
    }

    private static func listenTCP(_ core: NIOLoopBound<RelayCore>, on loop: any EventLoop) async throws -> any Channel {
        try await ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                core.value.accepted(client)
                return client.eventLoop.makeSucceededVoidFuture()
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    private static func listenUDP(
        at address: SocketAddress, _ core: NIOLoopBound<RelayCore>, on loop: any EventLoop
    ) async throws -> any Channel {
        try await DatagramBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = DatagramReader { core.value.fromClient($0) }
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
            .bind(to: address).get()
    }
}

/// Hands datagrams to somebody.
final class DatagramReader: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let arrived: (AddressedEnvelope<ByteBuffer>) -> Void

    init(_ arrived: @escaping (AddressedEnvelope<ByteBuffer>) -> Void) {
        self.arrived = arrived
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.arrived(self.unwrapInboundIn(data)) }

    /// A socket's error is a network's error: the datagram is lost, the relay goes on.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}
