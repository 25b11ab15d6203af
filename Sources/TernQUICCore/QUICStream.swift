// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// One stream of a connection: its send queue, and the account of what it received.
final class QUICStream {
    let id: StreamID
    /// The application was told of this stream of the peer.
    var isTold = false
    var priority: StreamPriority = .normal

    // Sending
    var queue = SendQueue()
    /// In the scheduler, that is: has something to send and credit to send it.
    var isScheduled = false
    /// A write was answered with `false`.
    var isBackpressured = false
    /// Our reset, or the peer's STOP_SENDING, ended the sending side.
    var wasReset = false
    var stoppedWith: UInt64?

    // Receiving
    /// What came since the last drain.
    var received = ByteBuffer()
    /// The size of the previous drain, as a guess for the next one.
    var receivedBefore = 0
    var receivedFinish = false
    /// An event that hands `received` over waits in the queue.
    var isAnnounced = false
    /// Some of it came in 0-RTT packets.
    var cameEarly = false
    /// Bytes whose credit the peer has not got back yet.
    var unconsumed = 0
    var window = StreamWindow()
    /// The application wants no more, or the peer sends no more.
    var dropsInput = false
    /// ngtcp2 is done with the stream; we are too when everything is consumed.
    var isEnded = false

    init(id: StreamID) {
        self.id = id
    }
}

/// How many streams of each kind were opened, by either end.
struct QUICStreamCounts {
    /// By the two low bits of a stream's number (RFC 9000, section 2.1).
    private var counts: [UInt64] = [0, 0, 0, 0]

    mutating func note(_ id: StreamID) {
        let kind = Int(id.rawValue & 3)
        self.counts[kind] = max(self.counts[kind], id.index + 1)
    }

    func includes(_ id: StreamID) -> Bool {
        id.index < self.counts[Int(id.rawValue & 3)]
    }
}
