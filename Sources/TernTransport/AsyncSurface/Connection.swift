// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A connection to a peer: streams and datagrams over whichever carrier it runs on.
///
/// ```swift
/// let stream = try await connection.openStream()
/// try await stream.finish(ByteBuffer(string: "hello"))
/// while let bytes = try await stream.read() { print(bytes.readableBytes) }
/// try await connection.closeGracefully()
/// ```
///
/// **Lifetime.** The connection lives as long as this object, one of its streams, or a call on them; when the last of them is
/// dropped it is closed with code 0, and what is still on its way may be lost. It ends earlier when either end closes it, when nothing was heard for the idle timeout,
/// or when its carrier breaks: ``closed()`` says which.
///
/// **Isolation.** Every method may be called from any task. For code that must stay on the event loop there is ``LoopConnection``.
public final class Connection: Sendable {
    let bridge: ConnectionBridge

    /// Takes over an established connection and starts it. Any thread.
    ///
    /// - Parameter loopConnection: nobody else may have called ``LoopConnection/start(handler:)`` on it.
    public convenience init(adopting loopConnection: any LoopConnection) {
        self.init(adopting: loopConnection, replayable: [], observer: nil)
    }

    /// Takes over an established connection whose connector was given streams to open at once.
    ///
    /// - Parameters:
    ///   - loopConnection: nobody else may have called ``LoopConnection/start(handler:)`` on it.
    ///   - replayable: the same that ``CarrierConnector/connect(to:serverName:replayable:on:)`` was given;
    ///     ``replayableStreams()`` has their handles.
    public convenience init(adopting loopConnection: any LoopConnection, replayable: [ReplayableStream]) {
        self.init(adopting: loopConnection, replayable: replayable, observer: nil)
    }

    package init(
        adopting loopConnection: any LoopConnection, replayable: [ReplayableStream],
        observer: (any ConnectionObserver)?
    ) {
        self.bridge = ConnectionBridge(loopConnection, replayable: replayable, observer: observer)
        self.bridge.start()
    }

    deinit {
        self.bridge.postClose(code: 0, reason: "")
    }

    /// What carries the bytes.
    public var carrier: Carrier { self.bridge.connection.carrier }
    /// Which end this is.
    public var role: ConnectionRole { self.bridge.connection.role }
    /// What the carrier can do.
    public var capabilities: CarrierCapabilities { self.bridge.connection.capabilities }
    /// The negotiated ALPN identifier.
    public var applicationProtocol: String { self.bridge.connection.applicationProtocol }
    /// The limits that this end was configured with.
    public var limits: ConnectionLimits { self.bridge.connection.limits }
    /// The peer's certificate chain, leaf first, each DER; empty if the peer showed none.
    public var peerCertificates: [[UInt8]] { self.bridge.connection.peerCertificates }
    /// The event loop on which the connection lives.
    public var eventLoop: any EventLoop { self.bridge.connection.eventLoop }

    /// Opens a stream; suspends while the peer's stream limit is reached.
    ///
    /// - Throws: ``TransportError`` with the reason why the connection is closed, or `CancellationError`.
    public func openStream(_ direction: StreamDirection = .bidirectional) async throws -> Stream {
        Stream(try await self.bridge.openStream(direction), connection: self)
    }

    /// The streams that the peer opens, in the order of their opening. Ends when the connection closes cleanly, throws when it breaks.
    ///
    /// One task iterates. Streams that nobody takes stay bounded: see ``ConnectionLimits``.
    public var inboundStreams: InboundStreams { InboundStreams(connection: self) }

    /// The streams that were opened with the connection, in the order in which they were given to the connector.
    ///
    /// Each call makes new handles: take them once, for dropping a handle ends the stream.
    ///
    /// - Throws: ``TransportError/Code/limitExceeded`` when the peer allowed fewer streams, or `CancellationError`.
    public func replayableStreams() async throws -> [Stream] {
        guard let states = await self.bridge.replayableStreams.value() else { throw CancellationError() }
        guard states.count == self.bridge.replayable.count else {
            throw TransportError(
                .limitExceeded,
                message: "the peer allowed \(states.count) of \(self.bridge.replayable.count) streams")
        }
        return states.map { Stream($0, connection: self) }
    }

    /// What happens to the connection while it lives. The newest 64 are kept for one iterating task; when that task is cancelled, they
    /// have ended for every other.
    public var events: AsyncStream<ConnectionEvent> { self.bridge.events }

    /// Closes the connection with code 0 when everything has arrived that was written before, on all streams; at the latest after
    /// `time`. Returns when it is closed.
    ///
    /// Streams that were reset, stopped or dropped do not count, and streams that are not finished end with what was written. If this
    /// end has closed the connection already, nothing happens.
    ///
    /// - Parameter time: how long to wait for the peer.
    /// A peer that closes first with code 0 wants nothing more: then it is enough that all bytes have arrived, also if the ends of
    /// streams behind them have not.
    ///
    /// - Throws: ``TransportError/Code/undelivered`` when not everything arrived in time, or the connection ended before that was
    ///   known; the cause says why. `CancellationError` when the task is cancelled, which closes at once. The connection is
    ///   closed in every case.
    public func closeGracefully(within time: TimeAmount = Connection.defaultGrace) async throws {
        if let end = self.bridge.end.knownValue, end.code == .application, end.initiator == .local { return }
        do {
            try await self.bridge.delivery(of: nil, within: time)
        } catch {
            await self.close()
            if error is CancellationError { throw error }
            throw TransportError(
                .undelivered, message: "the connection was closed before everything that was written had arrived",
                cause: error)
        }
        await self.close()
    }

    /// How long a graceful close waits, where nothing else is said: five seconds.
    public static var defaultGrace: TimeAmount { .seconds(5) }

    /// Closes the connection at once and returns when it is closed. What the peer has not acknowledged may be lost: wait for its
    /// answer first, or for ``Stream/delivered()``, or use ``closeGracefully(within:)``.
    ///
    /// A cancelled task waits, too, though not for longer than a second: a process that ends behind it has told the peer.
    ///
    /// - Parameters:
    ///   - code: an application error code below 2^62; 0 for a clean close.
    ///   - reason: shown to the peer; cut to 256 bytes.
    public func close(code: UInt64 = 0, reason: String = "") async {
        self.bridge.postClose(code: code, reason: reason)
        _ = await self.closed()
        guard Task.isCancelled, self.bridge.end.knownValue == nil else { return }
        await Task {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.closed() }
                group.addTask { try? await Task.sleep(for: .seconds(1)) }
                await group.next()
                group.cancelAll()
            }
        }.value
    }

    /// Waits for the end and says why it came: ``TransportError/Code/application`` with code 0 for a clean close by either end.
    /// A cancelled task gets ``TransportError/Code/cancelled`` while the connection goes on.
    @discardableResult
    public func closed() async -> TransportError {
        await self.bridge.end.value() ?? TransportError(.cancelled, message: "the task that waited was cancelled")
    }
}

/// The streams that a peer opens on a ``Connection``.
public struct InboundStreams: AsyncSequence, Sendable {
    let connection: Connection

    public func makeAsyncIterator() -> Iterator { Iterator(connection: self.connection) }

    public struct Iterator: AsyncIteratorProtocol {
        let connection: Connection

        /// - Throws: ``TransportError`` when the connection broke, `CancellationError`, or ``TransportError/Code/misuse``
        ///   when another task iterates.
        public mutating func next() async throws -> Stream? {
            guard let state = try await self.connection.bridge.acceptedStreams.next() else { return nil }
            return Stream(state, connection: self.connection)
        }
    }
}

/// The datagrams that arrive on a ``Connection``.
public struct InboundDatagrams: AsyncSequence, Sendable {
    let connection: Connection

    public func makeAsyncIterator() -> Iterator { Iterator(connection: self.connection) }

    public struct Iterator: AsyncIteratorProtocol {
        let connection: Connection

        /// - Throws: as ``InboundStreams/Iterator/next()``.
        public mutating func next() async throws -> ByteBuffer? {
            try await self.connection.bridge.datagrams.next()
        }
    }
}
