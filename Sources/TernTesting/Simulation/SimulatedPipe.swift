// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// One direction of a byte stream, like TCP's, without sockets and without real time: bytes arrive in order, late, and
/// cut into pieces that have nothing to do with how they were written.
public struct SimulatedPipe: Sendable {
    /// What its reader gets.
    public enum Arrival: Sendable, Hashable {
        case bytes(ByteBuffer)
        /// The writer finished.
        case end
        /// The pipe broke (``cut(after:)``); nothing comes after it.
        case broken
    }

    public var delay: TimeAmount
    /// Up to this much is added to each piece; the order stays.
    public var jitter: TimeAmount
    /// Bytes per second; `nil` is without limit.
    public var rate: Int?
    /// A piece has 1 to this many bytes.
    public var largestPiece: Int
    /// A writer that obeys ``room(at:)`` leaves no more than this waiting for the rate, as with TCP_NOTSENT_LOWAT.
    public var unsentMark: Int
    /// All bytes that were written.
    public private(set) var written = 0

    private var random: SeededRandom
    private var pieces: [(arrives: NIODeadline, arrival: Arrival)] = []
    private var first = 0
    private var lastArrival = NIODeadline.uptimeNanoseconds(0)
    private var busyUntil = NIODeadline.uptimeNanoseconds(0)
    private var cutPosition: Int?
    private var isBroken = false

    public init(
        seed: UInt64, delay: TimeAmount = .milliseconds(5), jitter: TimeAmount = .nanoseconds(0), rate: Int? = nil,
        largestPiece: Int = 16_384, unsentMark: Int = 16_384
    ) {
        self.random = SeededRandom(seed: seed)
        self.delay = delay
        self.jitter = jitter
        self.rate = rate
        self.largestPiece = largestPiece
        self.unsentMark = unsentMark
    }

    /// Breaks the pipe behind this many written bytes.
    public mutating func cut(after position: Int) {
        self.cutPosition = position
    }

    /// How many bytes a well-behaved writer may hand over now.
    public func room(at now: NIODeadline) -> Int {
        guard let rate else { return self.unsentMark }
        let waiting = Double(max((self.busyUntil - now).nanoseconds, 0)) / 1e9 * Double(rate)
        return max(self.unsentMark - Int(waiting), 0)
    }

    /// When there is room for at least `count` bytes.
    public func roomAppears(for count: Int) -> NIODeadline {
        guard let rate else { return .uptimeNanoseconds(0) }
        let mayWait = Double(max(self.unsentMark - count, 0)) / Double(rate) * 1e9
        return self.busyUntil - .nanoseconds(Int64(mayWait))
    }

    public mutating func write(_ bytes: ByteBuffer, now: NIODeadline) {
        var bytes = bytes
        while let piece = bytes.readSlice(
            length: min(bytes.readableBytes, Int(self.random.next() % UInt64(max(self.largestPiece, 1))) + 1)),
            piece.readableBytes > 0, !self.isBroken
        {
            self.send(piece, now: now)
        }
    }

    /// Nothing more is written.
    public mutating func finish(now: NIODeadline) {
        guard !self.isBroken else { return }
        self.append(.end, now: now)
    }

    /// When something arrives next; `nil` when nothing is on its way.
    public var nextArrival: NIODeadline? { self.first < self.pieces.count ? self.pieces[self.first].arrives : nil }

    public mutating func arrivals(upTo now: NIODeadline) -> [Arrival] {
        var arrived: [Arrival] = []
        while self.first < self.pieces.count, self.pieces[self.first].arrives <= now {
            arrived.append(self.pieces[self.first].arrival)
            self.first += 1
        }
        if self.first > 64 {
            self.pieces.removeFirst(self.first)
            self.first = 0
        }
        return arrived
    }

    private mutating func send(_ piece: ByteBuffer, now: NIODeadline) {
        var piece = piece
        let left = self.cutPosition.map { $0 - self.written } ?? .max
        let isLast = left <= piece.readableBytes
        if isLast { piece = piece.getSlice(at: piece.readerIndex, length: max(left, 0)) ?? ByteBuffer() }
        self.written += piece.readableBytes
        if let rate, rate > 0 {
            let duration = Int64(Double(piece.readableBytes) / Double(rate) * 1e9)
            self.busyUntil = max(self.busyUntil, now) + .nanoseconds(duration)
        }
        if piece.readableBytes > 0 { self.append(.bytes(piece), now: now) }
        if isLast {
            self.append(.broken, now: now)
            self.isBroken = true
        }
    }

    private mutating func append(_ arrival: Arrival, now: NIODeadline) {
        let leaves = self.rate == nil ? now : max(now, self.busyUntil)
        self.lastArrival = max(self.lastArrival, leaves + self.delay + self.random.amount(upTo: self.jitter))
        self.pieces.append((self.lastArrival, arrival))
    }
}
