// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import TernQUICCore
internal import TernTransport

/// A server's socket on one event loop, and the connections whose datagrams arrive there.
///
/// Confined to its event loop. Several endpoints share a port, one on each event loop; ``QUICServerLoops`` says which
/// of them a datagram belongs to.
final class QUICServerEndpoint {
    private let eventLoop: any EventLoop
    /// The index of the event loop among ``loops``.
    let loop: UInt8
    let loops: QUICServerLoops
    let core: QUICEndpointCore
    private let limits: ConnectionLimits
    let validator: QUICAddressValidator
    private let load: QUICServerLoad
    private let logger: Logger
    private let makeCore: (QUICInitial, QUICPath, NIODeadline) throws(TransportError) -> QUICConnectionCore
    private let onConnection: @Sendable (any LoopConnection) -> Void

    private(set) var socket: UDPSocket?
    private var isAccepting = true
    private var isClosing = false
    private var datagramsHeard: UInt64 = 0
    private var members: [ObjectIdentifier: Member] = [:]
    private var routes: [QUICConnectionID: QUICConnection] = [:]
    private var latestRoute: (id: QUICConnectionID, connection: QUICConnection)?
    /// Who received in this turn of the event loop, or waits for the socket.
    private var toPump: [QUICConnection] = []
    var replies = TokenBucket(capacity: 100, perSecond: 200)
    /// Each costs about 20 microseconds, and no memory.
    var retries = TokenBucket(capacity: 1_000, perSecond: 10_000)
    var counters = QUICServerCounters()
    var outbox: HandoverOutbox
    private var closed: EventLoopPromise<Void>

    private struct Member {
        let connection: QUICConnection
        let network: ClientNetwork
        /// Where the client sent its first packet.
        let firstDestination: QUICConnectionID
        var isEstablished = false
        /// The application has it.
        var isHandedOut = false
    }

    init(
        eventLoop: any EventLoop, loop: UInt8, loops: QUICServerLoops, core: QUICEndpointCore,
        limits: ConnectionLimits, validator: QUICAddressValidator, load: QUICServerLoad, logger: Logger,
        makeCore: @escaping (QUICInitial, QUICPath, NIODeadline) throws(TransportError) -> QUICConnectionCore,
        onConnection: @escaping @Sendable (any LoopConnection) -> Void
    ) {
        self.eventLoop = eventLoop
        self.loop = loop
        self.loops = loops
        self.outbox = HandoverOutbox(loops: loops.count)
        self.core = core
        self.limits = limits
        self.validator = validator
        self.load = load
        self.logger = logger
        self.makeCore = makeCore
        self.onConnection = onConnection
        self.closed = eventLoop.makePromise()
    }

    /// Opens the socket.
    func bind(to address: SocketAddress, options: UDPSocketOptions) -> EventLoopFuture<SocketAddress> {
        let receiver = NIOLoopBound<any UDPSocketReceiver>(self, eventLoop: self.eventLoop)
        let endpoint = NIOLoopBound(self, eventLoop: self.eventLoop)
        let bound = UDPSocket.bind(to: address, on: self.eventLoop, options: options, receiver: receiver)
        bound.assumeIsolated().whenFailure { _ in self.closed.succeed() }
        return bound.assumeIsolated().map { socket in
            self.socket = socket.value
            self.loops.mailboxes[Int(self.loop)].open { endpoint.value.takeMail() }
            return socket.value.localAddress
        }.nonisolated()
    }

    var connectionCount: Int { self.members.count }
    var routeCount: Int { self.routes.count }
    func hasRoute(_ id: QUICConnectionID) -> Bool { self.routes[id] != nil }

    func stopAccepting() {
        self.isAccepting = false
    }

    /// Tells every peer that the server is gone, and closes the socket when nothing more comes.
    func close() -> EventLoopFuture<Void> {
        self.isAccepting = false
        for member in self.members.values {
            member.connection.close(code: 0, reason: "the server is closing")
            member.connection.pump()
        }
        if !self.isClosing {
            self.isClosing = true
            self.closeSocket(noLaterThan: .now() + Self.longestFarewell)
        }
        return self.closed.futureResult
    }

    /// Clients whose first packets wait in the socket, or are on their way inside this host, are told so too: nobody tells them
    /// when they are thrown away with it.
    private func closeSocket(noLaterThan end: NIODeadline) {
        let heard = self.datagramsHeard
        let endpoint = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.scheduleTask(in: Self.quiet) {
            let endpoint = endpoint.value
            guard endpoint.datagramsHeard != heard, .now() < end else {
                endpoint.socket?.close()
                return
            }
            endpoint.closeSocket(noLaterThan: end)
        }
    }

    private static var quiet: TimeAmount { .milliseconds(5) }
    private static var longestFarewell: TimeAmount { .milliseconds(250) }
}

// MARK: Datagrams

extension QUICServerEndpoint: UDPSocketReceiver {
    func received(_ train: ReceivedTrain) {
        guard self.loops.count == 1 else { return self.sort(train) }
        train.forEachDatagram { self.receive($0, path: train.path, ecn: train.ecn, now: train.now) }
    }

    /// Takes a datagram that belongs to this loop, or to none.
    func receive(_ datagram: UnsafeRawBufferPointer, path: QUICPath, ecn: ECN, now: NIODeadline) {
        self.datagramsHeard &+= 1
        switch self.core.classify(datagram) {
        case .existing(let id, let initial, let isShortHeader):
            if let connection = self.connection(for: id) {
                self.deliver(datagram, to: connection, path: path, ecn: ecn, now: now)
            } else if let initial {
                self.consider(initial, datagram: datagram, path: path, ecn: ecn, now: now)
            } else if isShortHeader, self.loops.isOurs(id) {
                // With the same secret a reset from here would end a connection that lives on another node.
                self.resetStatelessly(datagram, path: path, now: now)
            }
        case .versionNegotiation(let reply):
            self.refuseVersion(reply, path: path, now: now)
        case .drop:
            break
        }
    }

    func receiveTurnEnded() {
        self.counters.trainsLost += UInt64(self.outbox.flush(to: self.loops.mailboxes))
        self.forEachWaiting { $0.pumpAfterReceiving() }
    }

    func socketBecameWritable() {
        self.forEachWaiting { $0.pump() }
    }

    func socketClosed() {
        self.socket = nil
        self.isAccepting = false
        self.loops.mailboxes[Int(self.loop)].close()
        let lost = TransportError(.carrierLost, message: "the UDP socket was closed")
        for member in self.members.values { member.connection.abandon(lost) }
        self.closed.succeed()
    }

    /// Trains belong to one connection, so the one before is mostly the right one.
    private func connection(for id: QUICConnectionID) -> QUICConnection? {
        if let latestRoute, latestRoute.id == id { return latestRoute.connection }
        guard let connection = self.routes[id] else { return nil }
        self.latestRoute = (id, connection)
        return connection
    }

    private func deliver(
        _ datagram: UnsafeRawBufferPointer, to connection: QUICConnection, path: QUICPath, ecn: ECN, now: NIODeadline
    ) {
        self.pumpLater(connection)
        connection.receive(datagram, path: path, ecn: ecn, now: now)
    }

    private func pumpLater(_ connection: QUICConnection) {
        guard !connection.isInTurn else { return }
        connection.isInTurn = true
        self.toPump.append(connection)
    }

    private func forEachWaiting(_ pump: (QUICConnection) -> Void) {
        var connections: [QUICConnection] = []
        swap(&connections, &self.toPump)
        for connection in connections {
            connection.isInTurn = false
            pump(connection)
        }
        // Whoever waits again meanwhile is blocked; otherwise the array is used again.
        guard self.toPump.isEmpty else { return }
        connections.removeAll(keepingCapacity: true)
        self.toPump = connections
    }

    /// Opens a connection for a client's first packet, if the client need not prove its address before.
    private func consider(
        _ initial: QUICInitial, datagram: UnsafeRawBufferPointer, path: QUICPath, ecn: ECN, now: NIODeadline
    ) {
        guard self.isAccepting else {
            return self.refuse(initial, code: TransportErrorCode.connectionRefused, path: path, now: now)
        }
        switch self.validator.decide(initial, from: path.remote, load: self.load, now: now) {
        case .retry: self.sendRetry(for: initial, path: path, now: now)
        case .refuse: self.refuse(initial, path: path, now: now)
        case .accept(let initial):
            let owner = self.loops.claimHandshake(initial.destinationConnectionID, for: self.loop)
            // Another loop was first by a moment; the client sends again, and finds it.
            guard owner == self.loop else { return }
            guard let connection = self.accept(initial, path: path, now: now) else { return }
            self.deliver(datagram, to: connection, path: path, ecn: ecn, now: now)
            // RFC 9000, section 17.2.5.1: no second Retry.
            if connection.core.wantsRetry, initial.validation == .none {
                self.sendRetry(for: initial, path: path, now: now)
            }
        }
    }

    private func accept(_ initial: QUICInitial, path: QUICPath, now: NIODeadline) -> QUICConnection? {
        let network = ClientNetwork(path.remote)
        guard let socket, self.load.begin(from: network) else {
            self.counters.shed += 1
            self.loops.releaseHandshake(initial.destinationConnectionID, of: self.loop)
            return nil
        }
        do throws(TransportError) {
            let core = try self.makeCore(initial, path, now)
            let connection = QUICConnection(core: core, socket: socket, limits: self.limits, owner: self)
            self.members[ObjectIdentifier(connection)] = Member(
                connection: connection, network: network, firstDestination: initial.destinationConnectionID)
            for id in core.connectionIDs { self.connectionIDIssued(id, by: connection) }
            self.counters.accepted += 1
            return connection
        } catch {
            self.load.end(from: network, isEstablished: false, now: now)
            self.loops.releaseHandshake(initial.destinationConnectionID, of: self.loop)
            self.logger.warning("cannot accept a QUIC connection", metadata: ["error": "\(error)"])
            return nil
        }
    }
}

// MARK: Connections

extension QUICServerEndpoint: QUICConnectionOwner {
    func connectionIDIssued(_ id: QUICConnectionID, by connection: QUICConnection) {
        guard self.members[ObjectIdentifier(connection)] != nil else { return }
        self.routes[id] = connection
    }

    func connectionIDRetired(_ id: QUICConnectionID, by connection: QUICConnection) {
        guard self.routes[id] === connection else { return }
        self.routes[id] = nil
        if self.latestRoute?.id == id { self.latestRoute = nil }
    }

    func connectionHasEarlyData(_ connection: QUICConnection) {
        self.handOut(connection)
    }

    private func handOut(_ connection: QUICConnection) {
        guard self.members[ObjectIdentifier(connection)]?.isHandedOut == false else { return }
        self.members[ObjectIdentifier(connection)]?.isHandedOut = true
        self.onConnection(connection)
    }

    func connectionEstablished(_ connection: QUICConnection) {
        guard let member = self.members[ObjectIdentifier(connection)], !member.isEstablished else { return }
        self.members[ObjectIdentifier(connection)]?.isEstablished = true
        self.load.establish(from: member.network)
        self.loops.releaseHandshake(member.firstDestination, of: self.loop)
        self.giveToken(to: connection)
        self.handOut(connection)
    }

    func connectionChangedPath(_ connection: QUICConnection) {
        self.giveToken(to: connection)
    }

    // Only servers give tokens.
    func connectionReceived(token: [UInt8], by connection: QUICConnection) {}

    func connectionIsBlocked(_ connection: QUICConnection) {
        self.pumpLater(connection)
    }

    func connectionEnded(_ connection: QUICConnection, reason: TransportError) {
        guard self.members[ObjectIdentifier(connection)]?.isEstablished == false else { return }
        self.logger.debug("a QUIC handshake failed", metadata: ["error": "\("\(reason)".printable())"])
    }

    func connectionFinished(_ connection: QUICConnection) {
        guard let member = self.members.removeValue(forKey: ObjectIdentifier(connection)) else { return }
        self.load.end(from: member.network, isEstablished: member.isEstablished, now: .now())
        if !member.isEstablished { self.loops.releaseHandshake(member.firstDestination, of: self.loop) }
        for id in connection.core.connectionIDs where self.routes[id] === connection { self.routes[id] = nil }
        // What was retired but not told, when the socket was lost.
        if self.members.isEmpty { self.routes.removeAll() }
        if self.latestRoute?.connection === connection { self.latestRoute = nil }
    }
}
