// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore
internal import Synchronization
public import TernTransport

/// A listener inside one process: a server runs over it as it would over a socket.
public final class InMemoryListener: CarrierListener {
    public let carrier = Carrier.memory
    public let localAddress: SocketAddress

    private struct State {
        var isAccepting = true
        var pairs: [ObjectIdentifier: InMemoryTransport.Pair] = [:]
    }

    private let group: any EventLoopGroup
    private let limits: ConnectionLimits
    private let applicationProtocol: String
    private let accept: @Sendable (any LoopConnection) -> Void
    private let state = Mutex(State())

    /// - Parameters:
    ///   - name: stands for the address, in ``localAddress``; at most 100 bytes.
    ///   - group: where the accepted connections live.
    ///   - limits: what each accepted connection grants its peer.
    ///   - applicationProtocol: the ALPN identifier of the connections.
    ///   - accept: takes each new connection, on the connection's event loop; it must start it.
    public init(
        name: String = "memory", group: any EventLoopGroup, limits: ConnectionLimits = ConnectionLimits(),
        applicationProtocol: String = "memory", accept: @escaping @Sendable (any LoopConnection) -> Void
    ) throws {
        self.localAddress = try SocketAddress(unixDomainSocketPath: name)
        self.group = group
        self.limits = limits
        self.applicationProtocol = applicationProtocol
        self.accept = accept
    }

    /// A way to reach this listener; the address that it is given later does not matter.
    public func connector(limits: ConnectionLimits = ConnectionLimits()) -> InMemoryConnector {
        InMemoryConnector(listener: self, limits: limits)
    }

    public func stopAccepting() -> EventLoopFuture<Void> {
        self.state.withLock { $0.isAccepting = false }
        return self.group.any().makeSucceededVoidFuture()
    }

    public func close() -> EventLoopFuture<Void> {
        let pairs = self.state.withLock { state in
            defer { state.pairs.removeAll() }
            state.isAccepting = false
            return Array(state.pairs.values)
        }
        let closings = pairs.map { pair in
            pair.server.eventLoop.submit { pair.server.close(code: 0, reason: "the listener was closed") }
        }
        return EventLoopFuture.andAllSucceed(closings, on: self.group.any())
    }

    /// Breaks every connection as a vanished network would. Any thread.
    public func cutAll() {
        for pair in self.state.withLock({ Array($0.pairs.values) }) { pair.cut() }
    }

    fileprivate func connect(on clientLoop: any EventLoop, limits: ConnectionLimits) -> InMemoryConnection? {
        let pair = InMemoryTransport.makePair(
            clientLoop: clientLoop, serverLoop: self.group.next(), clientLimits: limits, serverLimits: self.limits,
            applicationProtocol: self.applicationProtocol)
        let isAccepted = self.state.withLock { state in
            guard state.isAccepting else { return false }
            state.pairs = state.pairs.filter { !$0.value.link.isBroken }
            state.pairs[ObjectIdentifier(pair.server)] = pair
            return true
        }
        guard isAccepted else { return nil }
        pair.server.eventLoop.execute { self.accept(pair.server) }
        return pair.link.client
    }
}

/// Reaches an ``InMemoryListener``.
public struct InMemoryConnector: CarrierConnector {
    public var carrier: Carrier { .memory }
    let listener: InMemoryListener
    let limits: ConnectionLimits

    public func connect(
        to address: SocketAddress, serverName: String, replayable: [ReplayableStream], on eventLoop: any EventLoop
    ) -> ConnectionAttempt {
        guard let connection = self.listener.connect(on: eventLoop, limits: self.limits) else {
            let error = TransportError(.connectionRefused, message: "nobody accepts any more", isRetrySafe: true)
            return ConnectionAttempt(
                established: eventLoop.makeFailedFuture(error), heardFromPeer: eventLoop.makeFailedFuture(error),
                cancel: {})
        }
        let promise = eventLoop.makePromise(of: (any LoopConnection).self)
        // On a later turn, as over a network.
        eventLoop.execute {
            do throws(TransportError) {
                if let reason = connection.closeReason { throw reason }
                connection.replayable = replayable
                try connection.openReplayableStreams()
                promise.succeed(connection)
            } catch {
                connection.cancelUnlessStarted()
                promise.fail(error)
            }
        }
        return ConnectionAttempt(
            established: promise.futureResult, heardFromPeer: promise.futureResult.map { _ in },
            cancel: { eventLoop.execute { connection.cancelUnlessStarted() } })
    }
}
