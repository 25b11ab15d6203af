// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// One stream of a ``Connection``: bytes in order, with backpressure both ways.
///
/// One task reads and one task writes at a time; they may be two tasks. Dropping a stream that was not finished resets it with
/// code 0, and one that was not read to its end is stopped with code 0. A stream keeps its connection alive.
///
/// Foundation has a `Stream`, too: where both are imported write `Tern.Stream`.
public final class Stream: Sendable {
    let state: StreamState
    let connection: Connection

    init(_ state: StreamState, connection: Connection) {
        self.state = state
        self.connection = connection
    }

    deinit {
        if self.state.outbound.isOpen { self.connection.bridge.post(.reset(self.state, code: 0)) }
        if self.state.inbound.isOpen {
            self.stopSending(code: 0)
        } else {
            self.connection.bridge.returnCredit(self.state.inbound.stop(), of: self.id)
            self.connection.bridge.returnAllCredit(of: self.id)
        }
    }

    /// The stream's number, the same at both ends.
    public var id: StreamID { self.state.id }
    /// Whether both ends send on it.
    public var direction: StreamDirection { self.state.id.direction }

    /// Whether bytes that ``read()`` returns came in 0-RTT, before the handshake was complete: an attacker may have copied them
    /// from an earlier connection, so act on them only if doing so twice does no harm, or wait for
    /// ``Connection/handshakeCompleted()`` (RFC 8446, section 8; RFC 9001, section 9.2). Ask after the first ``read()``.
    public var isReplayable: Bool { self.state.isReplayable }

    /// The next bytes, at least one; `nil` at the end of the stream. Taking them returns flow-control credit to the peer.
    ///
    /// - Throws: ``TransportError/Code/streamReset`` when the peer gave up, why the connection ended, `CancellationError`, or
    ///   ``TransportError/Code/misuse`` when another task reads or the stream only sends.
    public func read() async throws -> ByteBuffer? {
        guard let bytes = try await self.state.inbound.next() else {
            self.connection.bridge.returnAllCredit(of: self.id)
            return nil
        }
        self.connection.bridge.returnCredit(bytes.readableBytes, of: self.id)
        return bytes
    }

    /// Waits until the peer abandons its sending side (RESET_STREAM) and returns its code; `nil` when the stream ends in another
    /// way, or the task is cancelled.
    ///
    /// ``read()`` tells the same. This is for a second task, which wants to know while the first one does not read: because it
    /// writes to a peer that takes nothing, say.
    public func resetByPeer() async -> UInt64? {
        await self.state.inbound.resetCode()
    }

    /// Waits until the peer wants no more of what is written here (STOP_SENDING) and returns its code; `nil` when it took everything,
    /// when this end reset the stream or lost the connection, or the task is cancelled.
    ///
    /// ``write(_:)`` tells the same. This is for a second task, which wants to know while there is nothing to write.
    public func stoppedByPeer() async -> UInt64? {
        await self.state.outbound.stopCode()
    }

    /// The bytes as a sequence; the same as calling ``read()`` until it returns `nil`.
    public var inbound: InboundBytes { InboundBytes(stream: self) }

    /// Queues `bytes` for sending; suspends while more than ``ConnectionLimits/writeHighWatermark`` bytes of this stream wait,
    /// which is what a slow or full peer looks like.
    ///
    /// When it throws `CancellationError` the bytes are queued all the same.
    ///
    /// - Throws: ``TransportError/Code/streamStopped`` when the peer wants no more, ``TransportError/Code/streamFinished``
    ///   after ``finish(_:)`` or ``reset(code:)``, why the connection ended, or `CancellationError`.
    public func write(_ bytes: ByteBuffer) async throws {
        try await self.state.write(bytes, finish: false, through: self.connection.bridge)
    }

    /// Queues the last bytes, if there are any, and the end of the stream. The peer can still send.
    ///
    /// - Throws: as ``write(_:)``; nothing when there are no bytes and the peer has closed the connection with code 0.
    public func finish(_ bytes: ByteBuffer = ByteBuffer()) async throws {
        try await self.state.write(bytes, finish: true, through: self.connection.bridge)
    }

    /// Waits until the peer's transport has everything that was written before, and the end of the stream if it was finished before:
    /// then nothing of it is lost when the connection is closed.
    ///
    /// ```swift
    /// try await stream.finish(report)
    /// try await stream.delivered()
    /// await connection.close()
    /// ```
    ///
    /// That the application at the other end has read and understood it, only that application can say. What counts as there:
    /// ``LoopConnection/delivery(of:)``. A cancelled task stops to wait, and may ask again.
    ///
    /// - Throws: that it did not arrive, or that nobody knows: ``TransportError/Code/streamStopped`` when the peer wanted no more of it,
    ///   ``TransportError/Code/streamFinished`` when it was reset here, why the connection ended before, or `CancellationError`.
    public func delivered() async throws {
        if let abandonment = self.state.outbound.abandonment { throw abandonment }
        try await self.connection.bridge.delivery(of: self.id)
    }

    /// Abandons the sending side (RESET_STREAM): what waits is dropped, and the peer is told `code`.
    public func reset(code: UInt64) {
        self.state.outbound.end(
            TransportError(.streamFinished, message: "the stream was reset here", wireCode: code))
        self.connection.bridge.post(.reset(self.state, code: code))
    }

    /// Asks the peer to stop sending (STOP_SENDING) with `code`; what was not read is dropped, and ``read()`` returns `nil`.
    public func stopSending(code: UInt64) {
        let dropped = self.state.inbound.stop()
        self.connection.bridge.returnCredit(dropped, of: self.id)
        self.connection.bridge.post(.stopSending(self.state, code: code))
    }

    /// Says how urgent this stream's bytes are against those of other streams.
    public func setPriority(_ priority: StreamPriority) {
        self.connection.bridge.post(.setPriority(self.state, priority))
    }
}

/// The bytes of a ``Stream``, as they come.
public struct InboundBytes: AsyncSequence, Sendable {
    let stream: Stream

    public func makeAsyncIterator() -> Iterator { Iterator(stream: self.stream) }

    public struct Iterator: AsyncIteratorProtocol {
        let stream: Stream

        /// - Throws: as ``Stream/read()``.
        public mutating func next() async throws -> ByteBuffer? {
            try await self.stream.read()
        }
    }
}
