// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernQUICCore
internal import TernTransport

/// Who routes datagrams to a connection; every call comes on the connection's event loop.
protocol QUICConnectionOwner: AnyObject {
    func connectionIDIssued(_ id: QUICConnectionID, by connection: QUICConnection)
    func connectionIDRetired(_ id: QUICConnectionID, by connection: QUICConnection)
    /// 0-RTT data came: the application may have the connection before its handshake is done.
    func connectionHasEarlyData(_ connection: QUICConnection)
    /// The handshake is done and the peer verified.
    func connectionEstablished(_ connection: QUICConnection)
    /// A new path is in use.
    func connectionChangedPath(_ connection: QUICConnection)
    func connection(_ connection: QUICConnection, settled path: QUICPath, _ outcome: QUICPathOutcome)
    /// A probed path is not used any more.
    func connection(_ connection: QUICConnection, released path: QUICPath)
    /// Looks at another path, or takes it.
    func connection(
        _ connection: QUICConnection, goesTo localAddress: SocketAddress?, probes: Bool
    ) -> EventLoopFuture<PathReport>
    /// The server gave us a token for the next connection.
    func connectionReceived(token: [UInt8], by connection: QUICConnection)
    /// It has more to send than its socket takes: ``QUICConnection/pump()`` when the socket is writable.
    func connectionIsBlocked(_ connection: QUICConnection)
    /// The connection ended; it may still owe the peer a CONNECTION_CLOSE.
    func connectionEnded(_ connection: QUICConnection, reason: TransportError)
    /// Nothing is left to do: forget it. The last call.
    func connectionFinished(_ connection: QUICConnection)
}

/// One QUIC connection on its event loop: turns of the loop, one timer, and the order of events around
/// ``QUICConnectionCore``.
///
/// `@unchecked Sendable`: every stored variable is read and written on ``eventLoop`` only, which each entry point
/// checks; the exceptions are constants. ``applicationProtocol`` and ``peerCertificates`` are written once, when the
/// handshake is done, before any other thread can have a reference.
final class QUICConnection: LoopConnection, @unchecked Sendable {
    let eventLoop: any EventLoop
    let carrier = Carrier.quic
    let role: ConnectionRole
    let limits: ConnectionLimits
    var capabilities: CarrierCapabilities {
        CarrierCapabilities(
            hasUnreliableDatagrams: true, hasIndependentStreams: true, canMigrate: self.role == .client,
            reportsDatagramDelivery: true)
    }
    // The aspects of this class write what follows; to all others it is to be read.
    var applicationProtocol = ""
    var peerCertificates: [[UInt8]] = []

    let core: QUICConnectionCore
    /// The socket of the path in use, or of a server.
    var socket: UDPSocket
    /// A client's sockets of other paths: of a new one until it is validated, of an old one for a moment.
    var otherSockets: [UDPSocket] = []
    /// The owner will pump when the turn of the event loop ends.
    var isInTurn = false
    /// Routes to us; `nil` when it has forgotten us.
    var owner: (any QUICConnectionOwner)?

    var handler: (any LoopConnectionHandler)?
    var hasToldEnd = false
    /// What happened and was not told to the handler yet: it has not started, or is being told.
    var events = Deque<QUICEvent>()
    /// Datagrams received since the events were drained.
    var undrained = 0
    var datagramsHeld = 0
    var datagramsShed: UInt64 = 0
    var closeReason: TransportError?

    /// The address that the routing table chose, where the socket is bound to none.
    var routedLocalAddress: SocketAddress?

    var rebinding = HandshakeRebinding()
    /// Datagrams received since something was sent.
    var unanswered = 0
    var receivedAt = NIODeadline.distantPast
    /// The handler was told of bytes since something was sent, so an answer may come.
    var mayAnswer = false
    /// Bytes whose credit was returned since something was sent.
    var unsentCredit = 0
    var hasWork = false
    var isPumping = false
    var isPumpScheduled = false
    var timer = LoopTimer()
    var deliveries = DeliveryPromises()

    init(core: QUICConnectionCore, socket: UDPSocket, limits: ConnectionLimits, owner: any QUICConnectionOwner) {
        self.eventLoop = socket.eventLoop
        self.role = core.role
        self.core = core
        self.socket = socket
        self.limits = limits
        self.owner = owner
    }

    var isStarted: Bool { self.handler != nil || self.hasToldEnd }
    /// The owner has forgotten the connection.
    var isFinished: Bool { self.owner == nil }
}

// MARK: What the owner calls

extension QUICConnection {
    /// Takes a datagram; ``pump()`` must follow in the same turn.
    func receive(_ datagram: UnsafeRawBufferPointer, path: QUICPath, ecn: ECN, now: NIODeadline) {
        // Nobody has started the connection and the peer goes on: what is not taken, it sends again.
        guard self.events.count < Self.maximumEventsHeld else { return }
        let path =
            self.role == .client
            ? path
            : self.rebinding.pathForConnection(
                path, first: self.core.path, isEstablished: self.core.isEstablished)
        self.core.receive(datagram, path: path, ecn: ecn, now: now)
        self.unanswered += 1
        self.receivedAt = now
        // Not after each: the bytes of a stream that arrive together are told together.
        self.undrained += 1
        guard self.undrained >= Self.datagramsPerDrain, !self.isPumping else { return }
        self.isPumping = true
        self.drainEvents()
        self.isPumping = false
    }

    /// Ends the connection without a word to the peer: its socket is gone.
    func abandon(_ reason: TransportError) {
        self.timer.cancel()
        if self.closeReason == nil { self.record(.closed(reason)) }
        self.finish()
        self.schedulePump()
    }

    private static let maximumEventsHeld = 16_384
    private static let datagramsPerDrain = 64
}
