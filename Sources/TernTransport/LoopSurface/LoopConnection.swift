// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// One established connection, on its event loop: the surface for code that must not hop threads.
///
/// Every carrier implements this protocol, and nothing more; ``Connection`` builds the async surface on it once for all.
///
/// **Isolation.** Every method must be called on ``eventLoop`` and traps otherwise; the properties marked *any thread* are
/// constants. The reference itself may travel between threads, hence `Sendable`.
///
/// **Turns.** Nothing is sent inside a call: what was written in one turn of the event loop leaves, packed together, when the
/// turn ends. No method calls the handler back before it returns.
///
/// **Streams.** An identifier is valid from ``openStream(_:)`` or ``LoopConnectionHandler/streamOpened(_:)`` to
/// ``LoopConnectionHandler/streamClosed(_:)``. Calls that come too late, because the peer was faster, do nothing.
public protocol LoopConnection: AnyObject, Sendable {
    /// *Any thread.*
    var eventLoop: any EventLoop { get }
    /// *Any thread.*
    var carrier: Carrier { get }
    /// *Any thread.*
    var role: ConnectionRole { get }
    /// *Any thread.*
    var capabilities: CarrierCapabilities { get }
    /// The negotiated ALPN identifier. *Any thread.*
    var applicationProtocol: String { get }
    /// The limits that this end was configured with. *Any thread.*
    var limits: ConnectionLimits { get }
    /// The peer's certificate chain, leaf first, each DER; empty if the peer showed none. *Any thread.*
    var peerCertificates: [[UInt8]] { get }

    /// Our address now; `nil` over a carrier without addresses.
    var localAddress: SocketAddress? { get }
    /// The peer's address now; `nil` over a carrier without addresses.
    var remoteAddress: SocketAddress? { get }
    /// The largest payload that ``sendDatagram(_:)`` takes now; 0 when the peer takes none. It follows the path MTU over QUIC.
    var maximumDatagramSize: Int { get }
    /// A snapshot of what the connection measured; the last one when it is closed.
    func statistics() -> ConnectionStatistics
    /// Whether the handshake is done and the peer verified. A server hands a connection out earlier when 0-RTT data came.
    var isHandshakeComplete: Bool { get }
    /// What became of the data that was sent before the handshake was done (0-RTT).
    var earlyData: EarlyDataOutcome { get }
    /// The streams that carry what ``CarrierConnector/connect(to:serverName:replayable:on:)`` was given, in that order.
    var replayableStreams: [StreamID] { get }
    /// Whether bytes of `stream` came in 0-RTT: an attacker may have copied them from an earlier connection, so act on them
    /// only if doing so twice does no harm, or wait for ``isHandshakeComplete`` (RFC 8446, section 8; RFC 9001, section 9.2).
    func isReplayable(_ stream: StreamID) -> Bool
    /// Derives secret bytes that both ends of this connection, and nobody else, can derive (RFC 8446, section 7.5; RFC 5705).
    ///
    /// - Parameters:
    ///   - label: what for; begins with `EXPORTER` (RFC 5705, section 4).
    ///   - context: what else goes into the derivation; both ends must pass the same.
    ///   - count: 1 to 8160.
    /// - Throws: ``TransportError/Code/misuse`` before the handshake is complete, or where there is no TLS.
    func exportKeyingMaterial(label: String, context: [UInt8], count: Int) throws(TransportError) -> [UInt8]

    /// Names who hears of everything that happens; until then the connection holds its events back. Call it once.
    ///
    /// The connection keeps the handler alive until ``LoopConnectionHandler/connectionClosed(_:)``, which comes on a later turn,
    /// even if the connection is closed already.
    func start(handler: any LoopConnectionHandler)

    /// Protects what is sent from now on by new keys (RFC 9001, section 6; RFC 8446, section 4.6.3).
    ///
    /// - Throws: ``TransportError/Code/misuse`` when the handshake is not confirmed, or the update before is not yet.
    func updateKeys() throws(TransportError)

    /// Opens a stream, or returns `nil` when the peer's stream limit is reached: then
    /// ``LoopConnectionHandler/streamsAvailable(_:)`` says when to try again.
    ///
    /// - Throws: why the connection is closed.
    func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID?

    /// Queues `bytes`, and the end of the stream when `finish` is true.
    ///
    /// Everything is accepted; the caller stops when the answer is `false` (more than ``ConnectionLimits/writeHighWatermark``
    /// bytes of this stream wait) and goes on at ``LoopConnectionHandler/streamWritable(_:)``.
    ///
    /// - Throws: ``TransportError/Code/misuse``, ``TransportError/Code/streamFinished``, ``TransportError/Code/streamStopped``,
    ///   or why the connection is closed.
    func write(_ bytes: ByteBuffer, to stream: StreamID, finish: Bool) throws(TransportError) -> Bool

    /// Completes when the peer's transport has everything that was written to `stream` so far, and the end of the stream if it was
    /// finished: then closing the connection loses nothing of it. That the peer's application has read it is for the peer to say.
    ///
    /// Over QUIC everything was acknowledged (RFC 9000, section 3.1, "Data Recvd"). Over TCP the peer answered a ping (QX_PING)
    /// that was sent behind it; where the peer closed before it answered, its TCP had acknowledged everything.
    ///
    /// - Parameter stream: `nil`: all streams of the connection; what was reset or stopped does not count.
    /// - Returns: fails with ``TransportError/Code/streamStopped`` or ``TransportError/Code/streamFinished`` when `stream` was stopped
    ///   or reset, with ``TransportError/Code/misuse`` when this end only receives on it, or with the reason why the connection
    ///   ended before that was known.
    func delivery(of stream: StreamID?) -> EventLoopFuture<Void>

    /// Abandons the sending side of a stream (RESET_STREAM) and drops what waits.
    func reset(_ stream: StreamID, code: UInt64)
    /// Asks the peer to stop sending (STOP_SENDING) and drops what comes.
    func stopSending(_ stream: StreamID, code: UInt64)
    /// Says how urgent a stream's bytes are against those of other streams, from now on.
    func setPriority(_ priority: StreamPriority, of stream: StreamID)

    /// Says that the application is done with `count` received bytes of a stream: they return to the peer as flow-control credit
    /// of the stream and of the connection.
    ///
    /// Every byte that ``LoopConnectionHandler/streamReceived(_:bytes:finished:)`` delivered is returned once, also when its stream
    /// has ended or is closed by then: the connection's window still waits for it. Bytes that the carrier drops, because the
    /// stream was reset or stopped before they were delivered, it returns itself.
    func consumed(_ count: Int, of stream: StreamID)

    /// Sends an unreliable datagram (RFC 9221).
    ///
    /// - Throws: ``TransportError/Code/limitExceeded`` when it is larger than ``maximumDatagramSize``, or why the connection is closed.
    func sendDatagram(_ bytes: ByteBuffer) throws(TransportError) -> DatagramOutcome

    /// Sends an unreliable datagram whose fate ``LoopConnectionHandler/datagramSettled(_:fate:)`` tells under `tag`.
    ///
    /// - Throws: as ``sendDatagram(_:)``.
    func sendDatagram(_ bytes: ByteBuffer, tag: UInt64) throws(TransportError) -> DatagramOutcome

    /// Measures another way to the peer while the connection stays on the one it has (RFC 9000, section 9.1).
    ///
    /// - Parameter localAddress: where to send from; its port may be 0. `nil`: a new port of the address that the routing table
    ///   chooses.
    /// - Returns: what was found, or a ``TransportError``: ``TransportError/Code/unreachable`` when no answer came,
    ///   ``TransportError/Code/misuse`` for a server's end, before the handshake is confirmed, where the peer forbids migration
    ///   or the carrier has no paths.
    func probe(from localAddress: SocketAddress?) -> EventLoopFuture<PathReport>
    /// Moves the connection to another local address: at once, without waiting for the validation of the new path, because
    /// the old one is probably gone (RFC 9000, section 9.2). The peer's validation follows; if it fails the connection returns
    /// to the old path.
    ///
    /// - Returns: the path when it was validated; errors as ``probe(from:)``.
    func migrate(to localAddress: SocketAddress?) -> EventLoopFuture<PathReport>

    /// Closes the connection at once (CONNECTION_CLOSE 0x1d). What the peer has not acknowledged may be lost:
    /// ``delivery(of:)`` tells when it is not.
    ///
    /// - Parameters:
    ///   - code: an application error code below 2^62; 0 for a clean close.
    ///   - reason: shown to the peer; cut to 256 bytes of UTF-8.
    func close(code: UInt64, reason: String)
}

/// What became of a datagram at this end.
public enum DatagramOutcome: Sendable, Hashable {
    /// It is queued and will be sent.
    case accepted
    /// It, or an older one in its place, was shed because the carrier is backed up.
    case dropped
}

/// Hears what happens to a ``LoopConnection``; every call comes on the connection's event loop, in the order of the facts.
///
/// A handler may call any method of the connection from inside any of these calls.
public protocol LoopConnectionHandler: AnyObject {
    /// The peer opened a stream.
    func streamOpened(_ stream: StreamID)
    /// Bytes came, in order; `finished` with the last of them (which may be empty). Return the credit with
    /// ``LoopConnection/consumed(_:of:)``, here or later.
    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool)
    /// The peer abandoned its sending side (RESET_STREAM); no more bytes come.
    func streamWasReset(_ stream: StreamID, code: UInt64)
    /// The peer wants no more (STOP_SENDING); our sending side has been reset with the same code (RFC 9000, section 3.5).
    func streamWasStopped(_ stream: StreamID, code: UInt64)
    /// At most ``ConnectionLimits/writeLowWatermark`` bytes wait again, after a `write` that returned `false`.
    func streamWritable(_ stream: StreamID)
    /// Both sides are done and, over QUIC, acknowledged; the identifier is forgotten. Every stream gets this once before
    /// ``connectionClosed(_:)`` unless the connection ends first.
    func streamClosed(_ stream: StreamID)
    /// The peer allows more streams, after ``LoopConnection/openStream(_:)`` returned `nil`.
    func streamsAvailable(_ direction: StreamDirection)
    /// A datagram came.
    func datagramReceived(_ bytes: ByteBuffer)
    /// What became of a datagram that ``LoopConnection/sendDatagram(_:tag:)`` accepted; at most once for each.
    func datagramSettled(_ tag: UInt64, fate: DatagramFate)
    /// Something happened to the connection that changes nothing for its streams.
    func connectionEventOccurred(_ event: ConnectionEvent)
    /// The end, exactly once and the last call: ``TransportError/Code/application`` with code 0 for a clean close by either end.
    func connectionClosed(_ reason: TransportError)
}

// MARK: What a carrier need not have

extension LoopConnection {
    public var isHandshakeComplete: Bool { true }
    public var earlyData: EarlyDataOutcome { .notOffered }
    public var replayableStreams: [StreamID] { [] }
    public func isReplayable(_ stream: StreamID) -> Bool { false }

    public func exportKeyingMaterial(
        label: String, context: [UInt8], count: Int
    ) throws(TransportError) -> [UInt8] {
        throw TransportError(.misuse, message: "\(self.carrier) has no TLS to export keys from")
    }

    public func updateKeys() throws(TransportError) {
        throw TransportError(.misuse, message: "\(self.carrier) cannot update its keys")
    }

    public func sendDatagram(_ bytes: ByteBuffer, tag: UInt64) throws(TransportError) -> DatagramOutcome {
        try self.sendDatagram(bytes)
    }

    public func delivery(of stream: StreamID?) -> EventLoopFuture<Void> {
        self.eventLoop.makeFailedFuture(
            TransportError(.misuse, message: "\(self.carrier) cannot tell what arrived"))
    }

    public func probe(from localAddress: SocketAddress?) -> EventLoopFuture<PathReport> {
        self.eventLoop.makeFailedFuture(TransportError(.misuse, message: "\(self.carrier) has one path only"))
    }

    public func migrate(to localAddress: SocketAddress?) -> EventLoopFuture<PathReport> {
        self.eventLoop.makeFailedFuture(TransportError(.misuse, message: "\(self.carrier) has one path only"))
    }
}

extension LoopConnectionHandler {
    public func datagramSettled(_ tag: UInt64, fate: DatagramFate) {}
}
