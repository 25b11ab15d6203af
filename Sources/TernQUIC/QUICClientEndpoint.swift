// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQUICCore
internal import TernTransport

/// A client's one connection and its sockets, from the first packet to the last.
///
/// Confined to its event loop. It lives as long as its sockets, which it closes when the connection is finished.
final class QUICClientEndpoint {
    let eventLoop: any EventLoop
    let remoteAddress: SocketAddress
    private let established: EventLoopPromise<any LoopConnection>
    private let heardFromPeer: EventLoopPromise<Void>
    private var state = State.idle
    private var probe: RefusalProbe?
    private(set) var connection: QUICConnection?
    private(set) var socketOptions = UDPSocketOptions()
    /// The oldest first.
    var sockets: [QUICClientSocket] = []
    var socketsBeingOpened = 0
    var requests: [QUICPathRequest] = []
    /// Called with each token that the server gives us.
    var onToken: ([UInt8]) -> Void = { _ in }

    private enum State {
        /// Nothing was answered to the caller yet.
        case idle
        case established
        /// The attempt failed; a CONNECTION_CLOSE may still be on its way.
        case failed
    }

    init(
        remoteAddress: SocketAddress, eventLoop: any EventLoop, established: EventLoopPromise<any LoopConnection>,
        heardFromPeer: EventLoopPromise<Void>
    ) {
        self.remoteAddress = remoteAddress
        self.eventLoop = eventLoop
        self.established = established
        self.heardFromPeer = heardFromPeer
    }

    /// Opens the socket and starts the handshake.
    ///
    /// - Parameter makeCore: called when the local address is known.
    func start(
        options: UDPSocketOptions, limits: ConnectionLimits,
        makeCore: @escaping (QUICPath) throws(TransportError) -> QUICConnectionCore
    ) {
        do throws(TransportError) {
            let probe = try RefusalProbe(address: self.remoteAddress, eventLoop: self.eventLoop) { [weak self] error in
                self?.give(up: error)
            }
            self.probe = probe
        } catch {
            return self.fail(error)
        }
        self.socketOptions = options
        QUICClientSocket.open(
            at: self.remoteAddress.wildcardOfSameFamily, for: self, options: options, on: self.eventLoop
        ) { result in
            switch result {
            case .success(let socket): self.connect(over: socket, limits: limits, makeCore: makeCore)
            case .failure(let error):
                self.fail(
                    TransportError(
                        .unreachable,
                        message: "no UDP socket can be bound to reach \(self.remoteAddress.hostAndPort)",
                        isRetrySafe: true, cause: error))
            }
        }
    }

    /// Gives up, whether the handshake is done or not, unless somebody has started the connection.
    func cancel() {
        switch self.state {
        case .idle:
            self.fail(TransportError(.cancelled, message: "the attempt was given up", isRetrySafe: true))
            self.connection?.close(code: 0, reason: "")
            self.connection?.pump()
        case .established:
            guard let connection, !connection.isStarted else { return }
            connection.close(code: 0, reason: "")
        case .failed:
            break
        }
    }

    private func connect(
        over opened: QUICClientSocket, limits: ConnectionLimits,
        makeCore: (QUICPath) throws(TransportError) -> QUICConnectionCore
    ) {
        self.sockets.append(opened)
        guard case .idle = self.state, let socket = opened.socket else { return opened.close() }
        do throws(TransportError) {
            let core = try makeCore(QUICPath(local: socket.localAddress, remote: self.remoteAddress))
            let connection = QUICConnection(core: core, socket: socket, limits: limits, owner: self)
            var localAddress = self.probe?.localAddress
            localAddress?.port = socket.localAddress.port
            connection.routedLocalAddress = localAddress?.withoutIPv4Mapping
            self.connection = connection
            connection.pump()
        } catch {
            self.fail(error)
            socket.close()
        }
    }

    /// The network says that nobody is there.
    private func give(up error: TransportError) {
        guard case .idle = self.state, self.connection?.core.hasHeardFromPeer != true else { return }
        self.fail(error)
        self.connection?.abandon(error)
    }

    private func fail(_ error: TransportError) {
        guard case .idle = self.state else { return }
        self.state = .failed
        self.stopProbe()
        self.heardFromPeer.fail(error)
        self.established.fail(error)
    }

    private func noteWhetherHeard() {
        guard self.probe != nil, self.connection?.core.hasHeardFromPeer == true else { return }
        self.stopProbe()
        self.heardFromPeer.succeed()
    }

    private func stopProbe() {
        self.probe?.stop()
        self.probe = nil
    }
}

// MARK: What its sockets say

extension QUICClientEndpoint {
    func received(_ train: ReceivedTrain) {
        // The sockets are not connected: anybody can send to them. Later the server may have moved, and who speaks from
        // elsewhere is not heard by the core.
        guard let connection, train.path.remote == self.remoteAddress || connection.core.isConfirmed else { return }
        train.forEachDatagram { connection.receive($0, path: train.path, ecn: train.ecn, now: train.now) }
        self.noteWhetherHeard()
    }

    func receiveTurnEnded() {
        self.connection?.pumpAfterReceiving()
    }

    func socketBecameWritable() {
        self.connection?.pump()
    }

    func lastSocketClosed() {
        let lost = TransportError(
            .carrierLost, message: "the UDP socket towards \(self.remoteAddress.hostAndPort) was closed")
        self.connection?.abandon(lost)
        self.fail(lost)
        self.connection = nil
    }
}

extension QUICClientEndpoint: QUICConnectionOwner {
    // One connection has the socket to itself: there is nothing to route.
    func connectionIDIssued(_ id: QUICConnectionID, by connection: QUICConnection) {}
    func connectionIDRetired(_ id: QUICConnectionID, by connection: QUICConnection) {}

    func connectionReceived(token: [UInt8], by connection: QUICConnection) {
        self.onToken(token)
    }

    // socketBecameWritable() pumps it.
    func connectionIsBlocked(_ connection: QUICConnection) {}

    // Only servers get early data.
    func connectionHasEarlyData(_ connection: QUICConnection) {}

    func connectionEstablished(_ connection: QUICConnection) {
        self.noteWhetherHeard()
        guard case .idle = self.state else { return }
        self.state = .established
        self.established.succeed(connection)
    }

    func connectionEnded(_ connection: QUICConnection, reason: TransportError) {
        self.noteWhetherHeard()
        self.fail(reason)
        guard case .failed = self.state else { return }
        // Nobody waits for the end of a failed attempt: when the CONNECTION_CLOSE has left in this turn the socket
        // goes, which RFC 9000, section 10.2 allows an endpoint that will not answer any more.
        self.eventLoop.execute { connection.abandon(reason) }
    }

    func connectionFinished(_ connection: QUICConnection) {
        self.stopProbe()
        self.failRequests()
        self.connection = nil
        self.closeSockets()
    }
}
