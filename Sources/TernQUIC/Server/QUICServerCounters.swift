// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What a listener did beside its connections, since it was bound.
package struct QUICServerCounters: Sendable, Hashable {
    /// Retry packets sent.
    package var retries: UInt64 = 0
    /// Clients refused because of a bad Retry token.
    package var refusals: UInt64 = 0
    package var statelessResets: UInt64 = 0
    package var versionNegotiations: UInt64 = 0
    /// Connections begun for a client's first packet.
    package var accepted: UInt64 = 0
    /// First packets dropped because of a limit.
    package var shed: UInt64 = 0
    /// Runs of datagrams that arrived at another event loop than that of their connection, and were handed over.
    package var trainsHandedOver: UInt64 = 0
    /// Of those, the ones that were dropped because the right loop did not keep up.
    package var trainsLost: UInt64 = 0
    /// Replies not sent because too many were.
    package var repliesWithheld: UInt64 = 0

    package static func + (left: Self, right: Self) -> Self {
        var sum = left
        sum.retries &+= right.retries
        sum.refusals &+= right.refusals
        sum.statelessResets &+= right.statelessResets
        sum.versionNegotiations &+= right.versionNegotiations
        sum.accepted &+= right.accepted
        sum.shed &+= right.shed
        sum.trainsHandedOver &+= right.trainsHandedOver
        sum.trainsLost &+= right.trainsLost
        sum.repliesWithheld &+= right.repliesWithheld
        return sum
    }
}
