// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Lets through what a rate allows, and a little at once. Nothing waits in it.
struct TokenBucket {
    private let bytesPerNanosecond: Double
    private let depth: Double
    private var tokens: Double
    private var filledAt: UInt64

    /// - Parameter largestPacket: fits always, however low the rate.
    init(bitsPerSecond: Double, largestPacket: Int, at now: UInt64) {
        self.bytesPerNanosecond = max(0, bitsPerSecond) / 8e9
        self.depth = max(Self.depthNanoseconds * self.bytesPerNanosecond, Double(largestPacket))
        self.tokens = self.depth
        self.filledAt = now
    }

    mutating func takes(_ bytes: Int, at now: UInt64) -> Bool {
        self.tokens = min(self.depth, self.tokens + Double(now - self.filledAt) * self.bytesPerNanosecond)
        self.filledAt = now
        guard self.tokens >= Double(bytes) else { return false }
        self.tokens -= Double(bytes)
        return true
    }

    private static let depthNanoseconds = 100e6
}
