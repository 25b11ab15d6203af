// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

/// Allows so many actions per second, and a few at once.
package struct TokenBucket: Sendable {
    private let capacity: Double
    private let perSecond: Double
    private var tokens: Double
    private var latest: NIODeadline?

    package init(capacity: Int, perSecond: Int) {
        self.capacity = Double(capacity)
        self.perSecond = Double(perSecond)
        self.tokens = Double(capacity)
    }

    /// Whether the action may happen now; if so, it counts.
    package mutating func take(now: NIODeadline) -> Bool {
        if let latest, now > latest {
            let seconds = Double((now - latest).nanoseconds) / 1e9
            self.tokens = min(self.capacity, self.tokens + seconds * self.perSecond)
        }
        self.latest = now
        guard self.tokens >= 1 else { return false }
        self.tokens -= 1
        return true
    }
}
