// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Logging
import NIOCore
import NIOPosix
import Tern
import TestTimeLimits
import Testing

/// A router that lets the beginning of a UDP flow pass, and drops the rest.
@Suite("QUIC that dies young", .untilItHangs)
struct YoungDeathTests {
    #if os(Linux)
    /// A server, and at the same port of another address the router, with UDP through it and TCP past it.
    private static func bind(
        _ name: ApplicationProtocol, _ tls: TLSServerConfiguration
    ) async throws -> (Listener, LeakyRouter, QMuxListener) {
        var lastError: any Error = TransportError(.unreachable, message: "no port is free at both addresses")
        for _ in 0..<50 {
            let listener = try await Listener.bind(to: .loopback(), applicationProtocol: name, tls: tls)
            let address = try SocketAddress(ipAddress: "127.0.0.2", port: listener.quicAddress.port ?? 0)
            do {
                let router = try await LeakyRouter.start(on: address, to: listener.quicAddress, bytesPerFlow: 20_000)
                do {
                    let beside = try await QMuxListener.bind(
                        to: address, tls: tls, applicationProtocols: [name.tls],
                        eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test")
                    ) { loopConnection in
                        let connection = Connection(adopting: loopConnection)
                        Task { await readAll(connection) }
                    }.get()
                    return (listener, router, beside)
                } catch {
                    try await router.stop()
                    throw error
                }
            } catch {
                // Somebody else has that port there.
                lastError = error
                await listener.close()
            }
        }
        throw lastError
    }

    @Test func theNextConnectionStartsWithTCP() async throws {
        let made = try TLSIdentity.selfSigned(for: ["127.0.0.1", "127.0.0.2"])
        let tls = TLSServerConfiguration(identity: made.identity)
        let name = ApplicationProtocol("upload")
        let (listener, router, beside) = try await Self.bind(name, tls)
        let server = Task { await listener.run(readAll) }
        let port = try #require(listener.quicAddress.port)
        var limits = ConnectionLimits()
        limits.idleTimeout = .seconds(2)
        limits.keepAliveInterval = .milliseconds(200)
        let connector = try Connector(
            applicationProtocol: name,
            tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM)),
            limits: limits)
        let endpoint = try Endpoint(host: "127.0.0.2", port: port)

        let (first, report) = try await connector.race(to: endpoint)
        // A busy machine may be late with QUIC's answer; then there is nothing to die.
        try #require(report.carrier == .quic)
        let upload = try await first.openStream()
        try? await upload.finish(ByteBuffer(repeating: 7, count: 200_000))
        #expect(await first.closed().initiator == .local)

        let (second, next) = try await connector.race(to: endpoint)
        #expect(next.reason == .quicDistrusted)
        #expect(next.attempts.first?.carrier == .tls)
        let again = try await second.openStream()
        try await again.finish(ByteBuffer(repeating: 7, count: 200_000))
        #expect(try await again.read() == ByteBuffer(string: "200000"))
        await second.close()
        // Other servers have nothing to do with it.
        let (third, direct) = try await connector.race(to: Endpoint(host: "127.0.0.1", port: port))
        #expect(direct.attempts.first?.carrier == .quic)
        await third.close()
        server.cancel()
        await server.value
        try await beside.close().get()
        try await router.stop()
    }
    #endif
}

/// Answers each stream with how much came.
@Sendable private func readAll(_ connection: Connection) async {
    await withDiscardingTaskGroup { group in
        do {
            for try await stream in connection.inboundStreams {
                group.addTask {
                    var count = 0
                    while let bytes = try? await stream.read() { count += bytes.readableBytes }
                    try? await stream.finish(ByteBuffer(string: "\(count)"))
                }
            }
        } catch {
            // The connection is gone.
        }
    }
}

/// Forwards UDP, and drops what goes beyond a number of bytes of a flow. Confined to its event loop.
private final class LeakyRouter: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let destination: SocketAddress
    private let bytesPerFlow: Int
    private let loop: any EventLoop
    private var channel: (any Channel)?
    private var flows: [SocketAddress: Flow] = [:]

    private struct Flow {
        var bytes = 0
        var channel: (any Channel)?
        var waiting: [ByteBuffer] = []
    }

    private init(to destination: SocketAddress, bytesPerFlow: Int, loop: any EventLoop) {
        self.destination = destination
        self.bytesPerFlow = bytesPerFlow
        self.loop = loop
    }

    static func start(
        on address: SocketAddress, to destination: SocketAddress, bytesPerFlow: Int
    ) async throws -> LeakyRouter {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let router = LeakyRouter(to: destination, bytesPerFlow: bytesPerFlow, loop: loop)
        let channel = try await DatagramBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(router) }
            }
            .bind(to: address).get()
        try await loop.submit { router.channel = channel }.get()
        return router
    }

    func stop() async throws {
        let channels = try await self.loop.submit {
            [self.channel].compactMap(\.self) + self.flows.values.compactMap(\.channel)
        }.get()
        for channel in channels { try? await channel.close().get() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        let client = envelope.remoteAddress
        guard self.pass(envelope.data, of: client) else { return }
        if let channel = self.flows[client]?.channel {
            return channel.writeAndFlush(
                AddressedEnvelope(remoteAddress: self.destination, data: envelope.data), promise: nil)
        }
        self.flows[client]?.waiting.append(envelope.data)
        guard self.flows[client]?.waiting.count == 1 else { return }
        self.open(for: client)
    }

    /// Counts both directions, as a connection tracker does.
    private func pass(_ bytes: ByteBuffer, of client: SocketAddress) -> Bool {
        self.flows[client, default: Flow()].bytes += bytes.readableBytes
        return self.flows[client, default: Flow()].bytes <= self.bytesPerFlow
    }

    private func open(for client: SocketAddress) {
        DatagramBootstrap(group: self.loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Back { self.answer($0, to: client) })
                }
            }
            .bind(host: "127.0.0.1", port: 0)
            .whenSuccess { channel in
                let waiting = self.flows[client]?.waiting ?? []
                self.flows[client]?.channel = channel
                for bytes in waiting {
                    channel.writeAndFlush(AddressedEnvelope(remoteAddress: self.destination, data: bytes), promise: nil)
                }
            }
    }

    private func answer(_ bytes: ByteBuffer, to client: SocketAddress) {
        guard self.pass(bytes, of: client) else { return }
        self.channel?.writeAndFlush(AddressedEnvelope(remoteAddress: client, data: bytes), promise: nil)
    }

    private final class Back: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        private let receive: (ByteBuffer) -> Void

        init(_ receive: @escaping (ByteBuffer) -> Void) {
            self.receive = receive
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.receive(self.unwrapInboundIn(data).data)
        }
    }
}
