// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How many of something may happen: a steady rate, and a burst that was saved up.
public struct RateLimit: Sendable, Hashable {
    /// Per second, for ever.
    public var rate: Double
    /// At once.
    public var burst: Double

    public init(rate: Double, burst: Double) {
        self.rate = rate
        self.burst = burst
    }
}

/// A token bucket over a clock that is an argument.
struct TokenBucket: Sendable {
    private let limit: RateLimit
    private var tokens: Double
    private var filledAt: ContinuousClock.Instant

    init(_ limit: RateLimit, now: ContinuousClock.Instant) {
        self.limit = limit
        self.tokens = limit.burst
        self.filledAt = now
    }

    /// Takes tokens. What costs more than the whole burst is allowed when the bucket is full, and leaves a debt.
    ///
    /// - Returns: `nil`, or how long it takes until there will be enough.
    mutating func take(_ cost: Double = 1, now: ContinuousClock.Instant) -> Duration? {
        let elapsed = self.filledAt.duration(to: now) / .seconds(1)
        self.filledAt = now
        self.tokens = min(self.limit.burst, self.tokens + max(0, elapsed) * self.limit.rate)
        let needed = max(0, min(cost, self.limit.burst))
        if self.tokens >= needed {
            self.tokens -= cost
            return nil
        }
        guard self.limit.rate > 0 else { return .seconds(3600) }
        return .seconds(min((needed - self.tokens) / self.limit.rate, 3600))
    }
}
