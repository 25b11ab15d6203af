// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How many bytes the peer may have on the way to us, or unread here, on one stream (RFC 9000, section 4.1).
///
/// It grows as ``ReceiveWindow`` does, but takes no memory of its own: the connection's window bounds all streams together.
struct StreamWindow {
    /// How far it is beyond its initial size.
    private(set) var growth = 0
    private var pace = WindowPace()

    /// The application is done with `count` bytes.
    ///
    /// - Parameter roundTrip: the smoothed round trip in nanoseconds, 0 if unknown; asked for only when it matters.
    /// - Returns: by how much the peer's limit rises.
    mutating func consume(
        _ count: Int, initial: Int, maximum: Int, now: UInt64, roundTrip: () -> UInt64
    ) -> Int {
        let size = initial + self.growth
        guard let elapsed = self.pace.consume(count, of: size, now: now), size < maximum,
            WindowPace.isBound(elapsed, roundTrip: roundTrip())
        else { return count }
        let step = min(size, maximum - size)
        self.growth += step
        return count + step
    }
}
