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

    /// - Parameters:
    ///   - tls: whom to trust.
    ///   - applicationProtocols: the ALPN identifiers to offer, the preferred one first; at least one.
    ///   - limits: what a connection grants its peer, and its timeouts.
    /// - Throws: ``TernTLS/TLSError`` when the trust can't be used.
    public init(
        tls: TLSClientConfiguration, applicationProtocols: [String], limits: ConnectionLimits = ConnectionLimits(),
        options: TCPOptions = TCPOptions(), logger: Logger
    ) throws {
        self.tls = try TLSClientContext(tls)
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
                    for: .stream, applicationProtocols: self.applicationProtocols, serverName: serverName)
                attempt.start(session, to: address, limits: self.limits)
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

    func start(_ session: TLSSession, to address: SocketAddress, limits: ConnectionLimits) {
        guard !self.isDecided else { return }
        let connection = QMuxConnection(
            role: .client, session: session, limits: limits, eventLoop: self.eventLoop, owner: self)
        self.connection = connection
        ClientBootstrap(group: self.eventLoop)
            .connectTimeout(limits.handshakeTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.writeBufferWaterMark, value: QMuxTransport.watermarks)
            .channelOption(.recvAllocator, value: QMuxTransport.receiveBuffers)
            .channelInitializer { channel in
                self.channel = channel
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(connection)
                }
            }
            .connect(to: address)
            .whenComplete { result in
                switch result {
                case .success:
                    self.isConnected = true
                    self.heardFromPeer.succeed()
                case .failure(let error): self.fail(QMuxTransport.connectError(error))
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

    func connectionEstablished(_ connection: QMuxConnection) {
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
