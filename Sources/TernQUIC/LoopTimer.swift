// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// One timer of an event loop that is armed again and again.
///
/// QUIC's deadline moves with every packet, mostly to later; a timer that is early costs less than one that is
/// cancelled and armed for each packet.
struct LoopTimer {
    private var armed: (callback: NIOScheduledCallback, deadline: NIODeadline)?

    /// Calls back at `deadline`, or before.
    mutating func armNoLater(than deadline: NIODeadline, for connection: QUICConnection) {
        if let armed, armed.deadline <= deadline { return }
        self.cancel()
        // It fails only when the event loop is shutting down, which closes the socket.
        let callback = try? connection.eventLoop.scheduleCallback(at: deadline, handler: connection)
        self.armed = callback.map { ($0, deadline) }
    }

    mutating func fired() {
        self.armed = nil
    }

    mutating func cancel() {
        self.armed?.callback.cancel()
        self.armed = nil
    }
}
