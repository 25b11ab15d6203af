// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTesting

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// One TCP connection of a client, and the one to the server that stands for it.
final class ByteRelay {
    private unowned let core: RelayCore
    private let client: any Channel
    private var server: (any Channel)?
    private var up: ByteLane
    private var down: ByteLane
    private let ended: () -> Void
    private(set) var isSilent = false
    private var isOver = false

    init(core: RelayCore, client: any Channel, ended: @escaping () -> Void) {
        self.core = core
        self.client = client
        self.ended = ended
        self.up = ByteLane(seed: core.makeSeed(), core.conditions)
        self.down = ByteLane(seed: core.makeSeed(), core.conditions)
    }

    func connect(to address: SocketAddress) {
        ClientBootstrap(group: self.core.loop)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.autoRead, value: false)
            .connect(to: address)
            .assumeIsolated()
            .whenComplete { result in
                guard !self.isOver, case .success(let server) = result else {
                    if case .success(let server) = result { Self.reset(server) }
                    return self.breakOff()
                }
                self.server = server
                do {
                    try self.client.pipeline.syncOperations.addHandler(ByteReader(self, isClient: true))
                    try server.pipeline.syncOperations.addHandler(ByteReader(self, isClient: false))
                } catch {
                    return self.breakOff()
                }
                self.go()
            }
    }

    // MARK: Ends

    /// Closes with RST.
    static func reset(_ channel: any Channel) {
        guard let options = channel as? any SocketOptionProvider else { return channel.close(promise: nil) }
        // With nothing to linger for, close(2) resets (socket(7), SO_LINGER).
        options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in channel.close(promise: nil) }
    }

    func breakOff() {
        guard !self.isOver else { return }
        self.isOver = true
        Self.reset(self.client)
        if let server { Self.reset(server) }
        self.ended()
    }

    /// Both sides see an end.
    func end() {
        guard !self.isOver else { return }
        self.isOver = true
        self.client.close(promise: nil)
        self.server?.close(promise: nil)
        self.ended()
    }

    /// What is on its way never arrives.
    func silence() {
        self.isSilent = true
    }

    func weatherChanged() {
        self.up.follow(self.core.conditions)
        self.down.follow(self.core.conditions)
    }

    // MARK: Bytes

    func arrived(_ bytes: ByteBuffer, fromClient: Bool) {
        if fromClient {
            self.core.countSent(1)
            self.up.pipe.write(bytes, now: .now())
            self.up.waiting += bytes.readableBytes
        } else {
            self.down.pipe.write(bytes, now: .now())
            self.down.waiting += bytes.readableBytes
        }
        self.go()
    }

    func finished(fromClient: Bool) {
        if fromClient { self.up.pipe.finish(now: .now()) } else { self.down.pipe.finish(now: .now()) }
        self.go()
    }

    /// One side is gone. What it sent arrives, unless nothing does.
    func closed(isClient: Bool) {
        guard !self.isOver else { return }
        guard !self.isSilent, !self.core.isDown, let server else { return self.breakOff() }
        self.isOver = true
        let rest =
            isClient ? self.up.pipe.arrivals(upTo: .distantFuture) : self.down.pipe.arrivals(upTo: .distantFuture)
        let target = isClient ? server : self.client
        for case .bytes(let bytes) in rest { target.write(bytes, promise: nil) }
        target.flush()
        target.close(mode: .output).whenComplete { _ in target.close(promise: nil) }
        self.ended()
    }

    /// Delivers what has arrived, and reads when there is room.
    func go() {
        guard !self.isOver, !self.isSilent, !self.core.isDown, let server else { return }
        self.carry(\.up, from: self.client, to: server)
        self.carry(\.down, from: server, to: self.client)
    }

    private func carry(
        _ lane: ReferenceWritableKeyPath<ByteRelay, ByteLane>, from source: any Channel, to target: any Channel
    ) {
        guard target.isWritable else { return }
        for arrival in self[keyPath: lane].pipe.arrivals(upTo: .now()) {
            switch arrival {
            case .bytes(let bytes):
                self[keyPath: lane].waiting -= bytes.readableBytes
                target.write(bytes, promise: nil)
            case .end: target.close(mode: .output, promise: nil)
            case .broken: return self.breakOff()
            }
        }
        target.flush()
        if self[keyPath: lane].waiting < ByteLane.room { source.read() }
        guard self[keyPath: lane].timer == nil, let next = self[keyPath: lane].pipe.nextArrival else { return }
        self[keyPath: lane].timer = self.core.loop.assumeIsolated().scheduleTask(deadline: next) {
            self[keyPath: lane].timer = nil
            self.go()
        }
    }
}

/// One direction of a connection.
struct ByteLane {
    /// More bytes than this are not on their way.
    static let room = 128 << 10

    var pipe: SimulatedPipe
    var waiting = 0
    var timer: Scheduled<Void>?

    init(seed: UInt64, _ conditions: NetworkConditions) {
        self.pipe = SimulatedPipe(seed: seed)
        self.follow(conditions)
    }

    mutating func follow(_ conditions: NetworkConditions) {
        (self.pipe.delay, self.pipe.jitter) = (conditions.delay, conditions.jitter)
    }
}

/// Hands what a socket brings to the relay.
private final class ByteReader: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let relay: ByteRelay
    private let isClient: Bool

    init(_ relay: ByteRelay, isClient: Bool) {
        self.relay = relay
        self.isClient = isClient
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.relay.arrived(self.unwrapInboundIn(data), fromClient: self.isClient)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) { self.relay.go() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent { self.relay.finished(fromClient: self.isClient) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) { self.relay.closed(isClient: self.isClient) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.relay.breakOff() }
}
