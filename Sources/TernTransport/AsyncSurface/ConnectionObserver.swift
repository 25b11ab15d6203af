// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Hears of the life of a connection that has an async surface; what metrics and logs stand on.
///
/// Every call comes on the connection's event loop.
package protocol ConnectionObserver: AnyObject, Sendable {
    /// - Parameter source: what the connection did so far; it may be asked on the event loop for as long as the connection lives.
    func connectionStarted(_ connection: any LoopConnection, source: any ConnectionActivitySource)
    func connectionEventOccurred(_ event: ConnectionEvent)
    func connectionEnded(_ reason: TransportError, activity: ConnectionActivity)
}

/// Answers what a connection did so far.
package protocol ConnectionActivitySource: AnyObject, Sendable {
    /// On the connection's event loop.
    func activity() -> ConnectionActivity
}

/// What a connection did since its beginning.
package struct ConnectionActivity: Sendable {
    package var statistics = ConnectionStatistics()
    /// Streams that this end opened.
    package var streamsOpened: UInt64 = 0
    /// Streams that the peer opened.
    package var streamsAccepted: UInt64 = 0

    package init() {}
}
