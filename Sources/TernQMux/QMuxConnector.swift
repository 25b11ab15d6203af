// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import Logging
public import NIOCore
internal import NIOPosix
public import TernTLS
public import TernTransport

/// Connects over QMux (draft-ietf-quic-qmux-02) on TLS 1.3 on TCP.
///
/// An attempt fails with ``TernTransport/TransportError/Code/connectionRefused`` or
/// ``TernTransport/TransportError/Code/unreachable`` when TCP says so, and with
/// ``TernTransport/TransportError/Code/timedOut`` after ``TernTransport/ConnectionLimits/handshakeTimeout``.
public struct QMuxConnector: CarrierConnector {
    public var carrier: Carrier { .tls }
    private let tls: TLSClientContext
    private let applicationProtocols: [String]
    private let limits: ConnectionLimits
    private let options: TCPOptions
    private let logger: Logger

    /// A resumed handshake costs a round trip more than a full one until the server's first words, because GnuTLS's servers speak
    /// early only in full ones; so a ticket is used when it lets us send early, or when we are asked for our certificate anyway.
    private let resumesForEarlyDataOnly: Bool

    /// - Parameters:
    ///   - tls: whom to trust, and who we are.
    ///   - applicationProtocols: the ALPN identifiers to offer, the preferred one first; at least one.
    ///   - limits: what a connection grants its peer, and its timeouts.
    ///   - options: of TCP; a congestion control that the kernel does not have fails each attempt with
    ///     ``TernTransport/TransportError/Code/misuse``.
    ///   - logger: hears of what breaks.
    /// - Throws: ``TernTLS/TLSError`` when the trust can't be used.
    public init(
        tls: TLSClientConfiguration, applicationProtocols: [String], limits: ConnectionLimits = ConnectionLimits(),
        options: TCPOptions = TCPOptions(), logger: Logger
    ) throws {
        self.tls = try TLSClientContext(tls)
        self.resumesForEarlyDataOnly = tls.identity == nil
        self.applicationProtocols = applicationProtocols
        self.limits = limits
        self.options = options
        self.logger = logger
    }

    public func connect(
        to address: SocketAddress, serverName: String, replayable: [ReplayableStream], on eventLoop: any EventLoop
    ) -> ConnectionAttempt {
        let attempt = QMuxAttempt(eventLoop: eventLoop)
        eventLoop.execute {
            do throws(TransportError) {
                let session = try self.tls.makeSession(
                    for: .stream, applicationProtocols: self.applicationProtocols, serverName: serverName,
                    port: address.port ?? 0, hasEarlyData: true,
                    resumesForEarlyDataOnly: self.resumesForEarlyDataOnly)
                let connection = QMuxConnection(
                    role: .client, session: session, limits: self.limits, replayable: replayable, eventLoop: eventLoop,
                    owner: attempt)
                attempt.start(connection, to: address, options: self.options)
            } catch {
                attempt.fail(error)
            }
        }
        return ConnectionAttempt(
            established: attempt.established.futureResult, heardFromPeer: attempt.heardFromPeer.futureResult,
            cancel: { eventLoop.execute { attempt.cancel() } })
    }
}

/// One attempt on its event loop, which makes it `Sendable`.
private final class QMuxAttempt: QMuxConnectionOwner, @unchecked Sendable {
    let established: EventLoopPromise<any LoopConnection>
    let heardFromPeer: EventLoopPromise<Void>
    private let eventLoop: any EventLoop
    private var connection: QMuxConnection?
    /// From before TCP connects, so that giving up frees the socket at once.
    private var channel: (any Channel)?
    private var isConnected = false
    private var isDecided = false

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        self.established = eventLoop.makePromise()
        self.heardFromPeer = eventLoop.makePromise()
    }

    func start(_ connection: QMuxConnection, to address: SocketAddress, options: TCPOptions) {
        guard !self.isDecided else { return }
        self.connection = connection
        ClientBootstrap(group: self.eventLoop)
            .connectTimeout(connection.limits.handshakeTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: options.sendsSmallSegmentsAtOnce ? 1 : 0)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.writeBufferWaterMark, value: QMuxTransport.watermarks)
            .channelOption(.recvAllocator, value: QMuxTransport.receiveBuffers)
            .channelInitializer { channel in
                self.channel = channel
                return channel.eventLoop.makeCompletedFuture {
                    try QMuxTransport.configure(channel, options, connection.limits)
                    try channel.pipeline.syncOperations.addHandler(connection)
                }
            }
            .connect(to: address)
            .whenComplete { result in
                switch result {
                case .success:
                    self.isConnected = true
                    self.heardFromPeer.succeed()
                case .failure(let error):
                    self.fail(QMuxTransport.connectError(error, to: address, limits: connection.limits))
                }
            }
    }

    func cancel() {
        guard self.isDecided else {
            self.fail(TransportError(.cancelled, message: "given up", isRetrySafe: true))
            self.channel?.close(promise: nil)
            return
        }
        // It won already; nobody wants it, unless somebody started it.
        if let connection, !connection.isStarted { connection.close(code: 0, reason: "") }
    }

    func fail(_ error: TransportError) {
        self.connection = nil
        guard !self.isDecided else { return }
        self.isDecided = true
        self.heardFromPeer.fail(error)
        self.established.fail(error)
    }

    func connectionFinishedHandshake(_ connection: QMuxConnection) {}

    func connectionReady(_ connection: QMuxConnection) {
        guard !self.isDecided else { return }
        self.isDecided = true
        self.established.succeed(connection)
    }

    func connectionEnded(_ connection: QMuxConnection, reason: TransportError) {
        // Before anything was established nothing of ours was seen.
        var reason = reason
        if !self.isDecided { reason.isRetrySafe = true }
        self.fail(reason)
    }

    func connectionFinished(_ connection: QMuxConnection) {
        self.channel = nil
        // Until TCP connected, its own error says more.
        guard self.isConnected else { return }
        self.fail(TransportError(.carrierLost, message: "the TCP connection ended", isRetrySafe: true))
    }
}
