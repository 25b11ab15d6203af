// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import Synchronization
internal import TernTransport

/// The connections of a listener, on all event loops.
///
/// A place is reserved before anything is made of a connection; then the connection enters, or the place is released.
final class QMuxRoster: QMuxConnectionOwner {
    private struct Member {
        let connection: QMuxConnection
        let network: ClientNetwork
        var isHandshaking = true
    }

    private struct State {
        var load: ListenerLoad
        var members: [ObjectIdentifier: Member] = [:]
        var refusals = RareWarning()
        var isClosing = false
        var waiters: [EventLoopPromise<Void>] = []

        /// Whether it had not finished or failed before.
        mutating func endHandshake(of connection: QMuxConnection) -> Bool {
            guard let member = self.members[ObjectIdentifier(connection)], member.isHandshaking else { return false }
            self.members[ObjectIdentifier(connection)]?.isHandshaking = false
            self.load.establish(from: member.network)
            return true
        }

        /// Those who wait for the last connection, when it is gone.
        mutating func takeWaiters() -> [EventLoopPromise<Void>] {
            guard self.load.connections == 0 else { return [] }
            defer { self.waiters = [] }
            return self.waiters
        }
    }

    private let caps: ListenerCaps
    private let logger: Logger
    private let onConnection: @Sendable (any LoopConnection) -> Void
    private let state: Mutex<State>

    init(caps: ListenerCaps, logger: Logger, onConnection: @escaping @Sendable (any LoopConnection) -> Void) {
        self.caps = caps
        self.logger = logger
        self.onConnection = onConnection
        self.state = Mutex(State(load: ListenerLoad(caps)))
    }

    /// Connections that are open, in their handshake or closing.
    var count: Int { self.state.withLock { $0.load.connections } }

    /// Counts a newcomer, unless a limit is reached. What is reserved is entered or released.
    func reserve(from network: ClientNetwork) -> Bool {
        let (isWelcome, refusal) = self.state.withLock { state -> (Bool, ListenerLoad.Refusal?) in
            guard !state.isClosing else { return (false, nil) }
            guard let refusal = state.load.begin(from: network) else { return (true, nil) }
            return (false, state.refusals.isDue(at: .now()) ? refusal : nil)
        }
        if let refusal {
            self.logger.warning(
                "TCP connections are turned away; not said again for \(RareWarning.interval.inWords)",
                metadata: ["limit": "\(refusal)", "value": "\(self.caps[refusal])"])
        }
        return isWelcome
    }

    func enter(_ connection: QMuxConnection, from network: ClientNetwork) {
        let isClosing = self.state.withLock { state in
            state.members[ObjectIdentifier(connection)] = Member(connection: connection, network: network)
            return state.isClosing
        }
        // The listener was closed since the place was reserved.
        if isClosing { connection.close(code: 0, reason: "the listener was closed") }
    }

    func release(_ network: ClientNetwork) {
        let waiters = self.state.withLock { state in
            state.load.end(from: network, isEstablished: false)
            return state.takeWaiters()
        }
        for waiter in waiters { waiter.succeed() }
    }

    func closeAll(then promise: EventLoopPromise<Void>) {
        let connections = self.state.withLock { state -> [QMuxConnection]? in
            state.isClosing = true
            guard state.load.connections > 0 else { return nil }
            state.waiters.append(promise)
            return state.members.values.map(\.connection)
        }
        guard let connections else { return promise.succeed() }
        for connection in connections {
            connection.eventLoop.execute { connection.close(code: 0, reason: "the listener was closed") }
        }
    }

    func connectionReady(_ connection: QMuxConnection) {
        self.onConnection(connection)
    }

    func connectionFinishedHandshake(_ connection: QMuxConnection) {
        _ = self.state.withLock { $0.endHandshake(of: connection) }
    }

    func connectionEnded(_ connection: QMuxConnection, reason: TransportError) {
        let wasHandshaking = self.state.withLock { $0.endHandshake(of: connection) }
        guard wasHandshaking else { return }
        self.logger.debug("a handshake over TLS failed", metadata: ["reason": "\("\(reason)".printable())"])
    }

    func connectionFinished(_ connection: QMuxConnection) {
        let waiters = self.state.withLock { state -> [EventLoopPromise<Void>] in
            guard let member = state.members.removeValue(forKey: ObjectIdentifier(connection)) else { return [] }
            state.load.end(from: member.network, isEstablished: !member.isHandshaking)
            return state.takeWaiters()
        }
        for waiter in waiters { waiter.succeed() }
    }
}

extension ListenerCaps {
    fileprivate subscript(_ refusal: ListenerLoad.Refusal) -> Int {
        switch refusal {
        case .connections: self.connections
        case .handshakes: self.handshakes
        case .connectionsPerAddress: self.connectionsPerAddress
        case .handshakesPerAddress: self.handshakesPerAddress
        }
    }
}
