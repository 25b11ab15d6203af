// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
package import NIOCore
package import TernTransport

/// Where a connection may go (RFC 9000, section 9).
package struct QUICPathSettings: Sendable {
    /// A server: tells clients to stay at their address (disable_active_migration). A NAT may still move them.
    package var forbidsMigration = false
    /// A server: where clients should go after the handshake (RFC 9000, section 9.6).
    package var preferredIPv4Address: SocketAddress?
    package var preferredIPv6Address: SocketAddress?
    /// A client: stays at the address that it dialled.
    package var refusesPreferredAddress = false

    package init() {}

    /// - Parameter port: for addresses whose port is 0.
    package mutating func prefer(_ addresses: [SocketAddress], port: Int?) {
        for var address in addresses {
            if address.port == 0 { address.port = port }
            switch address.protocol {
            case .inet: self.preferredIPv4Address = address
            case .inet6: self.preferredIPv6Address = address
            default: break
            }
        }
    }
}

/// What became of the validation of a path (RFC 9000, section 8.2).
package enum QUICPathOutcome: Sendable, Hashable {
    /// - Parameter after: since the first PATH_CHALLENGE.
    case validated(after: TimeAmount)
    /// No answer came in time.
    case failed
    /// Another path was tried instead.
    case abandoned
}

/// A client's way to another local address, or its look at one.
struct PathMove {
    enum Kind {
        case migration
        case probe
        /// A migration failed, and the connection goes back where it came from.
        case returning
    }

    let kind: Kind
    let path: QUICPath
    /// The peer answered the probe; its path is in use until ngtcp2 sends no more challenges.
    var isAnswered = false
}

/// A server's client that comes back to its old path while ngtcp2 still checks that the new one takes 1200 bytes: ngtcp2
/// 0.12 aborts the process then. Until the check is over its packets are taken as if they came on the new path, and the
/// answers go to the old one, which was validated before.
struct PathComeback {
    /// The last path that was validated by datagrams of 1200 bytes.
    private(set) var old: QUICPath?
    private var isMeasuring = false
    private var hasComeBack = false

    mutating func validated(_ isUndersized: Bool, old: QUICPath) {
        self.isMeasuring = isUndersized
        if !isUndersized { self.old = nil } else if self.old == nil { self.old = old }
    }

    mutating func validationEnded() {
        self.isMeasuring = false
        self.hasComeBack = false
    }

    mutating func pathForConnection(_ path: QUICPath, current: QUICPath) -> QUICPath {
        guard self.isMeasuring, let old else { return path }
        self.hasComeBack = path == old
        return self.hasComeBack ? current : path
    }

    func pathForSocket(_ path: QUICPath, current: QUICPath) -> QUICPath {
        guard self.isMeasuring, self.hasComeBack, let old, path == current else { return path }
        return old
    }
}

extension QUICConnectionCore {
    /// Moves a client's end to another local address at once; the path is validated meanwhile, and if it fails the
    /// connection goes back to the last path that was validated. `.pathSettled` tells.
    ///
    /// - Parameter local: where the datagrams of the new path come from; of the family of the remote address.
    /// - Throws: ``TernTransport/TransportError/Code/misuse``, or why the connection is closed.
    package func migrate(to local: SocketAddress, now: NIODeadline) throws(TransportError) {
        try self.checkMayMove(to: local)
        try self.move(to: QUICPath(local: local, remote: self.path.remote), as: .migration, now: self.advance(now))
    }

    /// Sends PATH_CHALLENGE frames from another local address and nothing else; everything else stays on the path in use.
    /// `.pathSettled` tells, and `.pathReleased` when nothing more leaves from there.
    ///
    /// ngtcp2 would move as soon as the peer answers, so it does not get to see the answer.
    ///
    /// - Throws: as ``migrate(to:now:)``.
    package func probe(from local: SocketAddress, now: NIODeadline) throws(TransportError) {
        try self.checkMayMove(to: local)
        switch self.move?.kind {
        case .migration, .returning:
            throw TransportError(.misuse, message: "the connection is on its way to another path")
        case .probe, nil: break
        }
        try self.move(to: QUICPath(local: local, remote: self.path.remote), as: .probe, now: self.advance(now))
    }

    /// Throws what ``migrate(to:now:)`` would, but for reasons that show only when it is tried.
    package func checkMayMove(to local: SocketAddress?) throws(TransportError) {
        if let closeReason { throw closeReason }
        guard self.role == .client else { throw TransportError(.misuse, message: "only a client migrates") }
        guard self.isConfirmed else {
            throw TransportError(.misuse, message: "the handshake is not confirmed yet")
        }
        guard !self.native.peerForbidsMigration else {
            throw TransportError(.misuse, message: "the peer forbids migration")
        }
        guard local.map({ $0.protocol == self.path.remote.protocol }) ?? true else {
            throw TransportError(
                .misuse, message: "\(self.path.remote.hostAndPort) cannot be reached from another address family")
        }
    }

    /// Whether datagrams may still leave from `local`, or come there and matter.
    package func uses(_ local: SocketAddress) -> Bool {
        self.path.local == local || self.move?.path.local == local || self.native.currentPath?.local == local
    }

    /// Where packets leave from now.
    package var sendingAddress: SocketAddress { self.native.currentPath?.local ?? self.path.local }

    /// The longest time after which a datagram of an old path may still arrive (RFC 9000, section 9.3).
    package var oldPathLifetime: TimeAmount { .nanoseconds(Int64(clamping: 3 &* self.native.probeTimeout)) }

    private func move(to path: QUICPath, as kind: PathMove.Kind, now: UInt64) throws(TransportError) {
        let result = self.native.move(to: path, probes: kind == .probe, now: now)
        // It may have ended another validation.
        self.digest()
        switch result {
        case TERN_QUIC_MOVE_STARTED: self.move = PathMove(kind: kind, path: path)
        case TERN_QUIC_MOVE_NO_CID:
            throw TransportError(.misuse, message: "the peer has given no connection ID to spare")
        case TERN_QUIC_MOVE_SAME_PATH: throw TransportError(.misuse, message: "this is the path in use")
        case TERN_QUIC_MOVE_FORBIDDEN:
            throw TransportError(.misuse, message: "the connection is on its way to the server's preferred address")
        default: throw TransportError(.transport, message: self.native.lastFailure.text)
        }
    }

    // MARK: What ngtcp2 says

    func digest(_ fact: NativePathFact) {
        self.comeback.validationEnded()
        if let move = self.move, move.path == fact.path {
            self.settle(move, fact)
        } else {
            switch fact.outcome {
            case .validated: self.pathWasValidated(fact)
            case .failed:
                self.emit(.pathSettled(fact.path, .failed))
                self.fellBack()
            case .abandoned:
                // Another path is tried, unless the client is back where it was.
                if let old = self.comeback.old, self.native.currentPath == old { self.fellBack() }
            case .answered: break
            }
        }
    }

    private func settle(_ move: PathMove, _ fact: NativePathFact) {
        if fact.outcome == .answered {
            guard move.kind == .probe else { return }
            self.move?.isAnswered = true
            return self.emit(.pathSettled(move.path, .validated(after: Self.time(fact))))
        }
        self.move = nil
        guard !move.isAnswered else { return self.emit(.pathReleased(move.path)) }
        switch fact.outcome {
        case .validated:
            if move.kind != .returning { self.emit(.pathSettled(move.path, .validated(after: Self.time(fact)))) }
            self.pathWasValidated(fact)
        case .abandoned: self.emit(.pathSettled(move.path, .abandoned))
        case .failed, .answered:
            self.emit(.pathSettled(move.path, .failed))
            if move.kind == .migration { self.goBack() }
        }
    }

    /// The path that was validated last may be as dead, but there is no better one.
    private func goBack() {
        // Without a spare connection ID the connection stays, and ends by its idle timeout unless somebody migrates again.
        guard self.native.move(to: self.path, probes: false, now: self.lastNow) == TERN_QUIC_MOVE_STARTED else {
            return
        }
        self.move = PathMove(kind: .returning, path: self.path)
    }

    /// A server's client is sought at its old address again.
    private func fellBack() {
        guard self.role == .server, let current = self.native.currentPath, current != self.path else { return }
        self.path = current
        self.packetSizes.pathChanged()
        self.emit(.pathChanged(current))
    }

    private func pathWasValidated(_ fact: NativePathFact) {
        // Also of a path that is in use already, whose size was in question.
        if self.role == .server { self.comeback.validated(fact.isUndersized, old: self.path) }
        guard let current = self.native.currentPath, current != self.path else { return }
        self.path = current
        self.packetSizes.pathChanged()
        self.emit(.pathChanged(current))
    }

    private static func time(_ fact: NativePathFact) -> TimeAmount { .nanoseconds(Int64(clamping: fact.elapsed)) }
}
