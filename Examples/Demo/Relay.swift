// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import Synchronization

/// A stretch of network in between: it forwards UDP and TCP of one port to a server, and can lose every datagram from one
/// moment to the next, as a firewall does that somebody switches on.
///
/// Everything runs on one event loop, so that the datagrams of a client keep their order.
final class Relay: Sendable {
    /// Where clients connect to, by UDP and by TCP.
    let address: SocketAddress

    private let tcp: any Channel
    private let udp: any Channel
    private let gate: UDPGate

    private init(address: SocketAddress, tcp: any Channel, udp: any Channel, gate: UDPGate) {
        self.address = address
        self.tcp = tcp
        self.udp = udp
        self.gate = gate
    }

    /// Listens on a port of 127.0.0.1 that is free for both protocols.
    static func start(forwardingTo server: SocketAddress, on loop: any EventLoop) async throws -> Relay {
        var attempts = 0
        while true {
            attempts += 1
            let tcp = try await Self.listenTCP(forwardingTo: server, on: loop)
            guard let address = tcp.localAddress else { throw ChannelError.unknownLocalAddress }
            do {
                let gate = UDPGate()
                let udp = try await Self.listenUDP(at: address, forwardingTo: server, gate: gate, on: loop)
                return Relay(address: address, tcp: tcp, udp: udp, gate: gate)
            } catch {
                // The kernel chose the port for TCP; another program may hold the same number for UDP.
                try await tcp.close()
                if attempts == 16 { throw error }
            }
        }
    }

    /// From now on every datagram is dropped, in both directions, without a word.
    func blockUDP() {
        self.gate.isClosed.store(true, ordering: .releasing)
    }

    func unblockUDP() {
        self.gate.isClosed.store(false, ordering: .releasing)
    }

    /// How many datagrams the closed gate has dropped.
    var droppedDatagrams: Int {
        self.gate.dropped.load(ordering: .relaxed)
    }

    func stop() async throws {
        try await self.tcp.close()
        try await self.udp.close()
    }

    private static func listenTCP(
        forwardingTo server: SocketAddress, on loop: any EventLoop
    ) async throws -> any Channel {
        try await ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                ClientBootstrap(group: client.eventLoop)
                    .channelOption(.allowRemoteHalfClosure, value: true)
                    .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                    .channelOption(.autoRead, value: false)
                    .connect(to: server)
                    .flatMapThrowing { upstream in
                        let (one, other) = TCPGlue.pair(client, upstream)
                        try client.pipeline.syncOperations.addHandler(one)
                        try upstream.pipeline.syncOperations.addHandler(other)
                    }
            }
            .bind(host: "127.0.0.1", port: 0)
            .get()
    }

    private static func listenUDP(
        at address: SocketAddress, forwardingTo server: SocketAddress, gate: UDPGate, on loop: any EventLoop
    ) async throws -> any Channel {
        try await DatagramBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(UDPFront(server: server, gate: gate))
                }
            }
            .bind(to: address)
            .get()
    }
}
