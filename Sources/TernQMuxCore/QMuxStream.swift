// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernTransport

/// The sending side of a stream (RFC 9000, section 3.1). Handing bytes to the carrier counts as their acknowledgement.
final class QMuxSendSide {
    /// Where the writer finds the stream.
    enum Place {
        /// Nothing to send.
        case idle
        /// In the queue of its urgency.
        case ready
        /// Waits for MAX_STREAM_DATA.
        case blocked
        /// Waits for MAX_DATA.
        case blockedByConnection
    }

    var waiting: Deque<ByteBuffer> = []
    var waitingBytes = 0
    var sent: UInt64 = 0
    var limit: UInt64
    var isFinishing = false
    /// FIN or RESET_STREAM is on its way; nothing more will be.
    var isDone = false
    /// It ended by a reset.
    private(set) var wasAbandoned = false
    /// The code of the peer's STOP_SENDING.
    var stopCode: UInt64?
    /// `write` answered `false`; streamWritable is owed.
    var owesWritable = false
    /// The limit that STREAM_DATA_BLOCKED told last.
    var toldBlockedAt: UInt64?
    var place = Place.idle

    init(limit: UInt64) {
        self.limit = limit
    }

    var hasSomethingToSay: Bool { !self.isDone && (self.isFinishing || self.waitingBytes > 0) }

    func abandon() {
        self.waiting.removeAll()
        self.waitingBytes = 0
        self.isDone = true
        self.wasAbandoned = true
        self.owesWritable = false
    }

    /// Moves exactly `count` waiting bytes into `record`: the one copy that a write costs.
    func take(_ count: Int, into record: inout ByteBuffer) {
        var missing = count
        while missing > 0, var front = self.waiting.popFirst() {
            guard front.readableBytes > missing, let slice = front.readSlice(length: missing) else {
                missing -= front.readableBytes
                record.writeImmutableBuffer(front)
                continue
            }
            record.writeImmutableBuffer(slice)
            self.waiting.prepend(front)
            missing = 0
        }
        self.waitingBytes -= count
        self.sent += UInt64(count)
    }
}

/// The receiving side of a stream (RFC 9000, section 3.2).
struct QMuxReceiveSide {
    var received: UInt64 = 0
    /// What the application is done with; returned, or to be returned, as credit.
    var consumed: UInt64 = 0
    var limit: UInt64
    /// Known after FIN or a reset; it never changes (RFC 9000, section 4.5).
    var finalSize: UInt64?
    /// FIN came, with everything before it.
    var isFinished = false
    /// What the connection's credit has paid for: what came, and of a reset stream its final size (RFC 9000, section 4.5).
    private(set) var charged: UInt64 = 0
    /// RESET_STREAM_AT came and its reliable part is still missing.
    var resetAt: (code: UInt64, reliableSize: UInt64)?
    var wasReset = false
    /// We sent STOP_SENDING.
    var wasStopped = false
    var owesCredit = false

    /// The stream reaches `end`.
    ///
    /// - Returns: how much of that the connection's credit has not paid for.
    mutating func charge(upTo end: UInt64) -> UInt64 {
        let missing = end.saturatingSubtracting(self.charged)
        self.charged += missing
        return missing
    }

    /// The terminal states "Data Read" and "Reset Read".
    var isDone: Bool { self.wasReset || (self.isFinished && self.consumed >= self.received) }
}

/// A stream from its opening until the application has heard that it is closed.
final class QMuxStream {
    let identifier: StreamID
    var priority = StreamPriority.normal
    let send: QMuxSendSide?
    var receive: QMuxReceiveSide?
    /// What came and was not told yet.
    var held = QMuxHeldPieces()
    /// streamClosed waits among the events.
    var isRetired = false
    /// Bytes of it came before the end of the handshake (0-RTT).
    var cameEarly = false

    init(_ identifier: StreamID, send: QMuxSendSide?, receive: QMuxReceiveSide?) {
        self.identifier = identifier
        self.send = send
        self.receive = receive
    }

    var isDone: Bool { self.send?.isDone ?? true && self.receive?.isDone ?? true }
}

extension UInt64 {
    /// The difference, or 0. A peer must not find the order of its frames in which one number passes another.
    func saturatingSubtracting(_ other: UInt64) -> UInt64 {
        self > other ? self - other : 0
    }
}
