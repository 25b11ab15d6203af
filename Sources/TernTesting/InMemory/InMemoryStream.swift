// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernTransport

/// What one end tells the other, in order and without loss; the memory carrier's counterpart of QUIC's frames.
enum InMemoryFrame: Sendable {
    case stream(StreamID, ByteBuffer, finished: Bool)
    case resetStream(StreamID, code: UInt64)
    case stopSending(StreamID, code: UInt64)
    case maxData(Int)
    case maxStreamData(StreamID, Int)
    case maxStreams(StreamDirection, UInt64)
    /// The peer answers a tag with ``datagramAcknowledged(_:)``.
    case datagram(ByteBuffer, tag: UInt64?)
    case datagramAcknowledged(UInt64)
    /// The peer answers with ``deliveryConfirmed(_:)``.
    case deliveryAsked(UInt64)
    case deliveryConfirmed(UInt64)
    /// `heard`: how many turns of the other end had come by then.
    case connectionClose(code: UInt64, reason: String, heard: UInt64)
}

/// The sending side of a stream: what waits, and how far the peer lets us go.
struct InMemorySendSide {
    var waiting: Deque<ByteBuffer> = []
    var waitingBytes = 0
    var sent = 0
    var limit: Int
    var isFinishing = false
    /// FIN or RESET_STREAM left; nothing more will.
    var isDone = false
    /// It ended by a reset.
    private(set) var wasAbandoned = false
    /// The code of the peer's STOP_SENDING.
    var stopCode: UInt64?
    /// `write` answered `false`; ``LoopConnectionHandler/streamWritable(_:)`` is owed.
    var owesWritable = false

    var hasSomethingToSay: Bool { !self.isDone && (self.isFinishing || self.waitingBytes > 0) }

    /// At most `maximum` bytes from the front of what waits, never more than one written buffer.
    mutating func take(atMost maximum: Int) -> ByteBuffer? {
        guard maximum > 0, var front = self.waiting.popFirst() else { return nil }
        guard front.readableBytes > maximum, let slice = front.readSlice(length: maximum) else {
            self.waitingBytes -= front.readableBytes
            return front
        }
        self.waitingBytes -= slice.readableBytes
        self.waiting.prepend(front)
        return slice
    }

    mutating func abandon() {
        self.waiting.removeAll()
        self.waitingBytes = 0
        self.isDone = true
        self.wasAbandoned = true
        self.owesWritable = false
    }
}

/// The receiving side of a stream: what came, what the application is done with, and what we allow.
struct InMemoryReceiveSide {
    var received = 0
    var consumed = 0
    var limit: Int
    var isFinished = false
    var wasReset = false
    var wasStopped = false

    /// RFC 9000, section 3.2: the terminal states are "Data Read" and "Reset Read".
    var isDone: Bool { self.wasReset || (self.isFinished && self.consumed >= self.received) }
}

struct InMemoryStream {
    var priority = StreamPriority.normal
    var send: InMemorySendSide?
    var receive: InMemoryReceiveSide?
    /// streamClosed waits among the events.
    var isRetired = false

    var isDone: Bool { self.send?.isDone ?? true && self.receive?.isDone ?? true }
}

/// One thing that a handler has still to hear.
enum InMemoryEvent {
    case streamOpened(StreamID)
    case streamReceived(StreamID, ByteBuffer, finished: Bool)
    case streamWasReset(StreamID, code: UInt64)
    case streamWasStopped(StreamID, code: UInt64)
    case streamWritable(StreamID)
    case streamClosed(StreamID)
    case streamsAvailable(StreamDirection)
    case datagramReceived(ByteBuffer)
    case datagramSettled(UInt64, DatagramFate)
    case connectionClosed(TransportError)
}
