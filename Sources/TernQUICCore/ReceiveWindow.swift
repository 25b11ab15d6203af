// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How many bytes the peer may have on the way to us, or unread here, on all streams together (RFC 9000, section 4.1).
///
/// It follows the application and the path: it doubles when half of it is consumed within two round trips, so that the
/// window is not what bounds the rate, as far as the connection's share of memory allows; and what it grew by is given
/// back, by crediting less than is consumed, when consuming half of it takes very long. Bytes that nobody reads grow
/// nothing.
struct ReceiveWindow {
    /// Half a window that takes longer shows that the window is larger than it must be.
    private static let slowNanoseconds: UInt64 = 5_000_000_000
    /// Smaller steps are not worth a frame.
    private static let smallestStep = 4096

    private(set) var size: Int
    private let initial: Int
    private let maximum: Int
    private let share: WindowShare
    /// What is to be withheld of the next credit.
    private var surplus = 0
    private var pace = WindowPace()

    init(initial: Int, maximum: Int, share: WindowShare) {
        self.size = initial
        self.initial = initial
        self.maximum = max(maximum, initial)
        self.share = share
    }

    /// The application is done with `count` bytes.
    ///
    /// - Parameter roundTrip: the smoothed round trip in nanoseconds, 0 if unknown; asked for only when it matters.
    /// - Returns: by how much the peer's limit rises.
    mutating func consume(_ count: Int, now: UInt64, roundTrip: () -> UInt64) -> Int {
        guard let elapsed = self.pace.consume(count, of: self.size, now: now) else { return self.withholding(count) }
        if elapsed >= Self.slowNanoseconds {
            self.surplus = max(self.surplus, (self.size - self.initial + 1) / 2)
        } else if self.size < self.maximum, WindowPace.isBound(elapsed, roundTrip: roundTrip()) {
            self.surplus = 0
            return count + self.grow()
        }
        return self.withholding(count)
    }

    private mutating func grow() -> Int {
        let step = self.share.grow(by: min(self.size, self.maximum - self.size))
        guard step >= min(Self.smallestStep, self.maximum - self.size) else {
            self.share.shrink(by: step)
            return 0
        }
        self.size += step
        return step
    }

    private mutating func withholding(_ count: Int) -> Int {
        let withheld = min(self.surplus, count)
        self.surplus -= withheld
        self.size -= withheld
        self.share.shrink(by: withheld)
        return count - withheld
    }
}
