// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How fast the application reads, measured by the time that it takes for half a window.
struct WindowPace {
    /// What was consumed since ``begin``.
    private var consumed = 0
    private var begin: UInt64?

    /// The application is done with `count` bytes of a window of `size`.
    ///
    /// - Returns: how many nanoseconds half a window took, when it is done.
    mutating func consume(_ count: Int, of size: Int, now: UInt64) -> UInt64? {
        self.consumed += count
        let begin = self.begin ?? now
        self.begin = begin
        // What was read at one instant shows no rate.
        guard self.consumed >= size / 2, now > begin else { return nil }
        self.consumed = 0
        self.begin = now
        return now - begin
    }

    /// Whether the window is what bounds the rate: half of it took less than two round trips.
    static func isBound(_ elapsed: UInt64, roundTrip: UInt64) -> Bool {
        elapsed < roundTrip.multipliedReportingOverflow(by: 2).partialValue
    }
}
