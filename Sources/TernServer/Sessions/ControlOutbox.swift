// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernMessages
internal import TernStore

/// The control stream of a session, as those see it who have something for it, and the task that writes it.
struct ControlOutbox: Sendable {
    let session: Session

    /// Waits for room.
    func send(_ message: Message) async {
        await self.session.untilControlHasRoom()
        self.sendNow(message)
    }

    /// For what happens once or seldom.
    func sendNow(_ message: Message) {
        self.session.apply { $0.send(message) }
    }

    func offer(_ notice: InboxNotice, of channel: ChannelKey) {
        self.session.apply { $0.tell(notice, of: channel) }
    }

    func offer(_ receipt: TernMessages.Receipt, in channel: ChannelID) {
        self.session.apply { $0.tell(receipt, in: channel) }
    }

    /// Everything that is to be written now, encoded; `nil` at the end. One task calls it.
    func next() async -> ByteBuffer? {
        guard let messages = await self.session.nextControl() else { return nil }
        var buffer = ByteBuffer()
        // Our own messages are within the format's limits.
        for message in messages { try? message.encode(into: &buffer) }
        return buffer
    }

    func finish() {
        self.session.apply { $0.finishControl() }
    }
}
