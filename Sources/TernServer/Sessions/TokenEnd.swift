// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What the server's two clocks say at one moment.
package struct ServerTime: Sendable, Hashable {
    /// Seconds since 1970. Jumps when somebody sets the clock.
    package var wall: Int64
    /// Never jumps.
    package var monotonic: ContinuousClock.Instant

    package init(wall: Int64, monotonic: ContinuousClock.Instant) {
        self.wall = wall
        self.monotonic = monotonic
    }
}

/// The moment from which a token is not accepted any more.
///
/// It has come when the clock on the wall says so, and also when as much time has passed as it should take from the login: a clock
/// that is set forward ends sessions as it ends tokens, one that is set back makes none longer.
package struct TokenEnd: Sendable, Hashable {
    /// The wall clock is looked at this often at least, in case it was set.
    package static let checkInterval = Duration.seconds(60)

    private let wall: Int64
    private let deadline: ContinuousClock.Instant

    /// - Parameters:
    ///   - expires: seconds since 1970, without what is forgiven for clocks that differ.
    ///   - now: when the token was accepted.
    package init(expires: Int64, acceptedAt now: ServerTime) {
        let (end, isFar) = expires.addingReportingOverflow(AccessToken.clockSkew)
        self.wall = isFar ? .max : end
        self.deadline = now.monotonic.advanced(by: Self.time(from: now.wall, to: self.wall))
    }

    /// Not negative, and not more than a century: that is as good as for ever, and has room in every type of time.
    private static func time(from start: Int64, to end: Int64) -> Duration {
        let (seconds, isBeyond) = end.subtractingReportingOverflow(start)
        let century: Int64 = 100 * 366 * 24 * 3600
        if isBeyond { return end < start ? .zero : .seconds(century) }
        return .seconds(min(max(0, seconds), century))
    }

    package func isOver(at now: ServerTime) -> Bool {
        now.wall >= self.wall || now.monotonic >= self.deadline
    }

    package func nextCheck(after now: ServerTime) -> ContinuousClock.Instant {
        let wait = min(Self.checkInterval, Self.time(from: now.wall, to: self.wall))
        return min(self.deadline, now.monotonic.advanced(by: wait))
    }
}
