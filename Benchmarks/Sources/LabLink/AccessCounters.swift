// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What became of the packets of one access, since the link was made or reset.
package struct AccessCounters: Sendable, Equatable {
    package var up = DirectionCounters()
    package var down = DirectionCounters()

    package init() {}
}

package struct DirectionCounters: Sendable, Equatable {
    /// What the sender handed to the link: packets, and their bytes with the IP header.
    package var packets = 0
    package var bytes = 0
    package var deliveredPackets = 0
    package var deliveredBytes = 0
    /// Taken by random or bursty loss.
    package var lost = 0
    /// Sent or under way while the link was down.
    package var lostWhileDown = 0
    /// Found the queue full.
    package var dropped = 0
    /// Marked CE in the queue.
    package var marked = 0
    /// Blocked, refused or throttled.
    package var udpDropped = 0
    /// Larger than the link carries.
    package var tooLarge = 0
    /// Without a mapping of the translator.
    package var untranslated = 0
    /// The most bytes that ever waited in front of the bottleneck.
    package var longestQueueBytes = 0

    package init() {}
}
