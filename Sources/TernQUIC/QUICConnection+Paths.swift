// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQUICCore
internal import TernTransport

extension QUICConnection {
    /// Sends PATH_CHALLENGE frames from a socket of its own, and measures until the first PATH_RESPONSE (RFC 9000, section
    /// 8.2). Nothing else leaves from there, and neither end moves.
    ///
    /// ngtcp2 repeats the challenge for some seconds; meanwhile the socket stays open, and another probe or a migration
    /// ends it. When no answer came after about seven seconds (three rounds; longer on slow paths), the path has failed.
    func probe(from localAddress: SocketAddress?) -> EventLoopFuture<PathReport> {
        self.go(to: localAddress, probes: true)
    }

    /// Everything leaves from a new socket at once, with a connection ID that the old path never saw (RFC 9000, section 9.5).
    ///
    /// If no answer comes the connection goes back to the last path that was validated, and the report is an error.
    func migrate(to localAddress: SocketAddress?) -> EventLoopFuture<PathReport> {
        self.go(to: localAddress, probes: false)
    }

    private func go(to localAddress: SocketAddress?, probes: Bool) -> EventLoopFuture<PathReport> {
        self.eventLoop.preconditionInEventLoop()
        do throws(TransportError) {
            if let closeReason { throw closeReason }
            try self.core.checkMayMove(to: localAddress)
        } catch {
            return self.eventLoop.makeFailedFuture(error)
        }
        guard let owner = self.owner else {
            return self.eventLoop.makeFailedFuture(TransportError(.carrierLost, message: "the connection is over"))
        }
        return owner.connection(self, goesTo: localAddress, probes: probes)
    }

    /// The socket of the path that packets take now has a train to finish first. That of another path may be full for ever,
    /// because what was behind it is gone.
    var isBlocked: Bool {
        guard !self.otherSockets.isEmpty else { return self.socket.isBlocked }
        return self.socket(at: self.core.sendingAddress)?.isBlocked ?? false
    }

    private func socket(at localAddress: SocketAddress) -> UDPSocket? {
        if localAddress == self.socket.localAddress { return self.socket }
        return self.otherSockets.first { $0.localAddress == localAddress }
    }

    /// Sends through the socket of the train's path.
    ///
    /// - Returns: whether more may be sent.
    func send(_ bytes: UnsafeRawBufferPointer, as train: DatagramTrain) -> Bool {
        guard !self.otherSockets.isEmpty else { return self.socket.send(bytes, as: train) }
        // A socket that is gone, or full though others are not, loses the train, as a network would.
        guard let socket = self.socket(at: train.path.local), !socket.isBlocked else { return true }
        return socket.send(bytes, as: train)
    }
}

extension QUICConnectionOwner {
    func connection(_ connection: QUICConnection, settled path: QUICPath, _ outcome: QUICPathOutcome) {}
    func connection(_ connection: QUICConnection, released path: QUICPath) {}

    func connection(
        _ connection: QUICConnection, goesTo localAddress: SocketAddress?, probes: Bool
    ) -> EventLoopFuture<PathReport> {
        connection.eventLoop.makeFailedFuture(TransportError(.misuse, message: "only a client migrates"))
    }
}
