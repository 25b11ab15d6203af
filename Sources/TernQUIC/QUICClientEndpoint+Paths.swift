// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQUICCore
internal import TernTransport

/// A path that somebody waits for.
struct QUICPathRequest {
    let localAddress: SocketAddress
    let promise: EventLoopPromise<PathReport>
}

extension QUICClientEndpoint {
    /// Sockets at once: of the path in use, of one that is tried, and of old ones for a moment.
    private static var maximumSockets: Int { 4 }

    func connection(
        _ connection: QUICConnection, goesTo localAddress: SocketAddress?, probes: Bool
    ) -> EventLoopFuture<PathReport> {
        let promise = self.eventLoop.makePromise(of: PathReport.self)
        guard self.makeRoom() else {
            promise.fail(TransportError(.misuse, message: "too many paths are tried at once"))
            return promise.futureResult
        }
        self.socketsBeingOpened += 1
        QUICClientSocket.open(
            at: localAddress ?? self.remoteAddress.wildcardOfSameFamily, for: self, options: self.socketOptions,
            on: self.eventLoop
        ) { result in
            self.socketsBeingOpened -= 1
            switch result {
            case .success(let socket): self.use(socket, probes: probes, promise: promise)
            case .failure(let error):
                let address = localAddress?.hostAndPort ?? "any address"
                promise.fail(
                    TransportError(.unreachable, message: "no UDP socket can be bound at \(address)", cause: error))
            }
        }
        return promise.futureResult
    }

    /// Closes the oldest of the sockets that are not needed much longer.
    private func makeRoom() -> Bool {
        guard self.sockets.count + self.socketsBeingOpened >= Self.maximumSockets else { return true }
        guard let retiring = self.sockets.first(where: { $0.isRetiring }) else { return false }
        retiring.close()
        return true
    }

    private func use(_ socket: QUICClientSocket, probes: Bool, promise: EventLoopPromise<PathReport>) {
        guard let udp = socket.socket, let connection, connection.closeReason == nil else {
            socket.close()
            let reason = self.connection?.closeReason
            return promise.fail(reason ?? TransportError(.carrierLost, message: "the connection is over"))
        }
        self.sockets.append(socket)
        connection.otherSockets.append(udp)
        do throws(TransportError) {
            if probes {
                try connection.core.probe(from: udp.localAddress, now: .now())
            } else {
                try connection.core.migrate(to: udp.localAddress, now: .now())
            }
            self.requests.append(QUICPathRequest(localAddress: udp.localAddress, promise: promise))
            connection.schedulePump()
        } catch {
            socket.close()
            promise.fail(error)
        }
    }

    // MARK: What becomes of paths

    func connection(_ connection: QUICConnection, settled path: QUICPath, _ outcome: QUICPathOutcome) {
        self.retireSockets()
        guard let index = self.requests.firstIndex(where: { $0.localAddress == path.local }) else { return }
        let request = self.requests.remove(at: index)
        switch outcome {
        case .validated(let time):
            request.promise.succeed(
                PathReport(
                    localAddress: path.local.asRouted(to: path.remote), remoteAddress: path.remote.withoutIPv4Mapping,
                    validationTime: time))
        case .failed:
            request.promise.fail(
                TransportError(.unreachable, message: path.silence))
        case .abandoned:
            request.promise.fail(TransportError(.cancelled, message: "another path was tried instead"))
        }
    }

    func connection(_ connection: QUICConnection, released path: QUICPath) {
        self.retireSockets()
    }

    func connectionChangedPath(_ connection: QUICConnection) {
        let path = connection.core.path
        connection.routedLocalAddress = path.local.asRouted(to: path.remote)
        if let socket = self.sockets.first(where: { $0.localAddress == path.local })?.socket { self.prefer(socket) }
        self.retireSockets()
    }

    private func prefer(_ socket: UDPSocket) {
        guard let connection, connection.socket !== socket else { return }
        connection.otherSockets.removeAll { $0 === socket }
        connection.otherSockets.append(connection.socket)
        connection.socket = socket
    }

    /// Datagrams of an old path may come for a while.
    private func retireSockets() {
        guard let core = self.connection?.core else { return }
        let lifetime = max(core.oldPathLifetime, .milliseconds(50))
        for socket in self.sockets {
            guard let localAddress = socket.localAddress, core.uses(localAddress) else {
                socket.retire(after: lifetime, on: self.eventLoop)
                continue
            }
            socket.keep()
        }
    }

    // MARK: The end

    /// A socket is gone; the connection is over only if it was the last one.
    func socketClosed(_ closed: QUICClientSocket) {
        self.sockets.removeAll { $0 === closed }
        guard let socket = closed.socket else { return }
        if let open = self.sockets.last?.socket, self.connection?.socket === socket { self.prefer(open) }
        self.connection?.otherSockets.removeAll { $0 === socket }
        guard self.sockets.isEmpty else {
            // If its buffer was full, nobody else says that the connection may send again.
            self.connection?.schedulePump()
            return
        }
        self.failRequests()
        self.lastSocketClosed()
    }

    func closeSockets() {
        for socket in self.sockets { socket.close() }
    }

    func failRequests() {
        let reason = self.connection?.closeReason
        let requests = self.requests
        self.requests = []
        for request in requests {
            request.promise.fail(reason ?? TransportError(.carrierLost, message: "the connection is over"))
        }
    }
}

extension QUICPath {
    var silence: String {
        "no answer came over QUIC on the path from \(self.local.hostAndPort) to \(self.remote.hostAndPort)"
    }
}

extension SocketAddress {
    /// Where a client binds: any local address, any port.
    var wildcardOfSameFamily: SocketAddress {
        let zeros = ByteBuffer(repeating: 0, count: self.protocol == .inet6 ? 16 : 4)
        // Four or sixteen bytes are always an address; the peer's own address would only fail to bind.
        return (try? SocketAddress(packedIPAddress: zeros, port: 0)) ?? self
    }
}
