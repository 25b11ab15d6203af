// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What ``FlowModel`` knows of one stream.
package struct FlowStream {
    package let isReadable: Bool
    package let isWritable: Bool
    /// The application heard of it.
    var isAnnounced = false
    /// The application heard that it is closed.
    package var isForgotten = false

    // What is received.
    /// Pieces that came, in order, without gaps or overlaps inside each other.
    private var pieces: [Range<UInt64>] = []
    package private(set) var finalSize: UInt64?
    /// FIN came.
    private var hasEnd = false
    /// What the stream's reset promised to deliver all the same.
    package private(set) var reliableSize: UInt64 = 0
    private(set) var resetCodes: [UInt64] = []
    package private(set) var wasReset = false
    /// MAX_STREAM_DATA, or the transport parameter.
    package var allowed: UInt64 = 0
    package var delivered: UInt64 = 0
    package var consumed: UInt64 = 0
    package var wasStopped = false
    var hasHeardEnd = false
    /// What a reset leaves to be told ends here.
    private var keptEnd: UInt64 = 0

    // What is sent.
    package var written: UInt64 = 0
    package var sent: UInt64 = 0
    package var peerLimit: UInt64 = 0
    package var isFinishing = false
    var hasSentEnd = false
    private(set) var isAbandoned = false
    var stopCode: UInt64?

    init(isReadable: Bool, isWritable: Bool) {
        self.isReadable = isReadable
        self.isWritable = isWritable
    }

    /// Everything before this offset came.
    package var front: UInt64 {
        guard let first = self.pieces.first, first.lowerBound == 0 else { return 0 }
        return first.upperBound
    }
    package var highest: UInt64 { self.pieces.last?.upperBound ?? 0 }
    /// What the connection's credit pays for (RFC 9000, section 4.5).
    package var charged: UInt64 { self.finalSize ?? self.highest }
    /// FIN came, and everything before it: then a reset is too late (RFC 9000, section 3.2).
    package var isFinished: Bool { self.hasEnd && !self.wasReset && self.front == self.finalSize }
    package var isOver: Bool { self.wasReset || self.isFinished }
    /// What the application or the carrier is done with.
    package var returned: UInt64 {
        if self.wasReset { return self.charged - self.promised }
        if self.wasStopped { return max(self.front, self.consumed) }
        return self.consumed
    }
    package var held: UInt64 {
        if self.wasReset { return self.promised }
        return self.wasStopped ? 0 : self.highest - min(self.consumed, self.highest)
    }
    /// What came before a reset that promised something, and is still to be told.
    private var promised: UInt64 { self.wasStopped ? 0 : self.keptEnd - min(self.delivered, self.keptEnd) }
    var isReceiveDone: Bool { !self.isReadable || self.wasReset || (self.isFinished && self.returned == self.charged) }
    var isSendDone: Bool { !self.isWritable || self.isAbandoned || self.hasSentEnd }

    mutating func receive(_ range: Range<UInt64>) {
        guard !self.wasReset, !range.isEmpty else { return }
        var merged = range
        var rest: [Range<UInt64>] = []
        for piece in self.pieces {
            if piece.upperBound < merged.lowerBound || piece.lowerBound > merged.upperBound {
                rest.append(piece)
            } else {
                merged = min(piece.lowerBound, merged.lowerBound)..<max(piece.upperBound, merged.upperBound)
            }
        }
        self.pieces = (rest + [merged]).sorted { $0.lowerBound < $1.lowerBound }
    }

    mutating func end(at size: UInt64) {
        guard !self.wasReset else { return }
        self.hasEnd = true
        self.finalSize = size
    }

    mutating func reset(code: UInt64, finalSize: UInt64, reliableSize: UInt64) {
        guard !self.isOver else { return }
        self.reliableSize = self.resetCodes.isEmpty ? reliableSize : min(self.reliableSize, reliableSize)
        self.resetCodes.append(code)
        self.finalSize = finalSize
        self.settleReset()
    }

    /// A reset holds as soon as its reliable part came.
    mutating func settleReset() {
        guard !self.resetCodes.isEmpty, !self.isOver, self.front >= self.reliableSize else { return }
        self.wasReset = true
        self.keptEnd = self.reliableSize > 0 ? self.front : 0
    }

    mutating func abandonSending() {
        guard !self.hasSentEnd else { return }
        self.isAbandoned = true
    }
}
