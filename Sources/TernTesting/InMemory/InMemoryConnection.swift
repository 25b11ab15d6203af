// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernTransport

/// One end of a connection in memory.
///
/// `@unchecked Sendable`: everything mutable is touched on `eventLoop` only; every entry checks it.
final class InMemoryConnection: LoopConnection, @unchecked Sendable {
    let eventLoop: any EventLoop
    let role: ConnectionRole
    let limits: ConnectionLimits
    let peerLimits: ConnectionLimits
    let applicationProtocol: String
    let link: InMemoryLink

    var carrier: Carrier { .memory }
    var capabilities: CarrierCapabilities {
        CarrierCapabilities(
            hasUnreliableDatagrams: false, hasIndependentStreams: true, canMigrate: false,
            reportsDatagramDelivery: true)
    }
    var peerCertificates: [[UInt8]] { [] }
    var localAddress: SocketAddress? { nil }
    var remoteAddress: SocketAddress? { nil }

    var streams: [StreamID: InMemoryStream] = [:]
    var opened: [StreamDirection: UInt64] = [:]
    var accepted: [StreamDirection: UInt64] = [:]
    /// How many streams the peer lets us open, and we the peer, since the beginning.
    var streamLimit: [StreamDirection: UInt64]
    var grantedStreams: [StreamDirection: UInt64]
    var owesStreams: Set<StreamDirection> = []
    var sentBytes = 0
    var sendLimit: Int
    var receivedBytes = 0
    var consumedBytes = 0
    var receiveLimit: Int
    var turn: UInt64 = 0

    var control: [InMemoryFrame] = []
    var datagrams: Deque<(bytes: ByteBuffer, tag: UInt64?)> = []
    var replayable: [ReplayableStream] = []
    var replayableStreams: [StreamID] = []
    var counters = ConnectionStatistics()
    var closeReason: TransportError?
    var deliveries = DeliveryWatches()
    var deliveryPromises = DeliveryPromises()
    /// Turns that had something to say; those of the peer; the last one with something of streams, and with bytes.
    var turnsSent: UInt64 = 0
    var turnsHeard: UInt64 = 0
    var lastTurnOfStreams: UInt64 = 0
    var lastTurnWithBytes: UInt64 = 0
    /// The peer closed, and had heard everything, or all bytes.
    var everythingArrived = false
    var bytesArrived = false
    /// The tags of those who asked for the delivery of all streams.
    var deliveriesOfAll: Set<UInt64> = []

    private var handler: (any LoopConnectionHandler)?
    private var wasStarted = false
    private var events: Deque<InMemoryEvent> = []
    private var isTurnScheduled = false
    private var isDelivering = false

    init(
        role: ConnectionRole, eventLoop: any EventLoop, limits: ConnectionLimits, peerLimits: ConnectionLimits,
        applicationProtocol: String, link: InMemoryLink
    ) {
        self.role = role
        self.eventLoop = eventLoop
        self.limits = limits
        self.peerLimits = peerLimits
        self.applicationProtocol = applicationProtocol
        self.link = link
        self.streamLimit = Self.streamLimits(peerLimits)
        self.grantedStreams = Self.streamLimits(limits)
        self.sendLimit = peerLimits.connectionWindow
        self.receiveLimit = limits.connectionWindow
    }

    private static func streamLimits(_ limits: ConnectionLimits) -> [StreamDirection: UInt64] {
        [
            .bidirectional: UInt64(clamping: limits.bidirectionalStreams),
            .unidirectional: UInt64(clamping: limits.unidirectionalStreams),
        ]
    }

    func start(handler: any LoopConnectionHandler) {
        self.eventLoop.preconditionInEventLoop()
        precondition(!self.wasStarted, "start(handler:) was called twice")
        self.wasStarted = true
        self.handler = handler
        self.scheduleTurn()
    }

    func statistics() -> ConnectionStatistics {
        self.eventLoop.preconditionInEventLoop()
        return self.counters
    }

    func close(code: UInt64, reason: String) {
        self.eventLoop.preconditionInEventLoop()
        guard self.closeReason == nil else { return }
        let reason = String(decoding: reason.utf8.prefix(256), as: UTF8.self)
        self.transmit([.connectionClose(code: code, reason: reason, heard: self.turnsHeard)])
        self.events.removeAll()
        self.end(TransportError(.application, message: reason, wireCode: code))
    }

    /// An attempt is given up; nothing happens when somebody took the connection already.
    func cancelUnlessStarted() {
        guard !self.wasStarted, self.closeReason == nil else { return }
        self.transmit([.connectionClose(code: 0, reason: "", heard: self.turnsHeard)])
        self.end(TransportError(.cancelled, message: "the attempt was cancelled"))
    }

    /// The application wants nothing more of a stream: what it has not heard yet is dropped.
    func dropEvents(of stream: StreamID) {
        self.events.removeAll { event in
            switch event {
            case .streamReceived(stream, _, _), .streamWasReset(stream, _): true
            default: false
            }
        }
    }

    /// The end of everything; later calls do nothing.
    func end(_ reason: TransportError) {
        guard self.closeReason == nil else { return }
        self.closeReason = reason
        self.endDeliveries(reason)
        self.streams.removeAll()
        self.control.removeAll()
        self.datagrams.removeAll()
        self.link.forget(self)
        self.report(.connectionClosed(reason))
    }

    // MARK: - Turns

    /// Queues what the handler will hear on a turn of its own, never inside a call of the application.
    func report(_ event: InMemoryEvent) {
        self.events.append(event)
        self.scheduleTurn()
    }

    /// Keeps unread datagrams within the limit while nobody listens: the oldest goes.
    func reportDatagram(_ bytes: ByteBuffer) {
        if !self.wasStarted {
            let held = self.events.indices.filter { index in
                if case .datagramReceived = self.events[index] { true } else { false }
            }
            if held.count >= max(self.limits.bufferedDatagrams, 1), let oldest = held.first {
                self.events.remove(at: oldest)
                self.counters.datagramsDropped += 1
            }
        }
        self.report(.datagramReceived(bytes))
    }

    func scheduleTurn() {
        guard !self.isTurnScheduled else { return }
        self.isTurnScheduled = true
        self.eventLoop.execute {
            self.isTurnScheduled = false
            self.deliver()
            self.flush()
        }
    }

    private func deliver() {
        guard let handler, !self.isDelivering else { return }
        self.isDelivering = true
        defer { self.isDelivering = false }
        while let event = self.events.popFirst() {
            switch event {
            case .streamOpened(let stream): handler.streamOpened(stream)
            case .streamReceived(let stream, let bytes, let finished):
                handler.streamReceived(stream, bytes: bytes, finished: finished)
            case .streamWasReset(let stream, let code): handler.streamWasReset(stream, code: code)
            case .streamWasStopped(let stream, let code): handler.streamWasStopped(stream, code: code)
            case .streamWritable(let stream): handler.streamWritable(stream)
            case .streamClosed(let stream):
                self.forget(stream)
                handler.streamClosed(stream)
            case .streamsAvailable(let direction): handler.streamsAvailable(direction)
            case .datagramReceived(let bytes): handler.datagramReceived(bytes)
            case .datagramSettled(let tag, let fate): handler.datagramSettled(tag, fate: fate)
            case .connectionClosed(let reason):
                self.handler = nil
                handler.connectionClosed(reason)
            }
        }
    }
}
