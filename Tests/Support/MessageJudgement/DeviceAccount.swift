// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernClient
package import TernMessages

/// What the application on one device was told, and what it asked for. What contradicts itself is noticed at once; the rest is
/// compared with what the server has, see ``Judgement``.
package struct DeviceAccount: Sendable {
    /// What it got of one channel.
    package struct Received: Sendable {
        package var epoch: Epoch
        package var sequences: [UInt64] = []
        package var ids: [UInt64: ClientMessageID] = [:]
        /// What it was told to be missing.
        package var missing: [UInt64] = []
        package var wasRestarted = false
        package var lastRead: UInt64 = 0
        /// Lives of the log that are over.
        fileprivate var formerEpochs: Set<Epoch> = []

        /// The next sequence that may come; 1 before the first.
        var next: UInt64 { (max(self.sequences.last ?? 0, self.missing.last ?? 0)) + 1 }
        package var isEmpty: Bool { self.sequences.isEmpty && self.missing.isEmpty }
    }

    package struct Sent: Sendable {
        package let receiver: PartyID
        /// In the order in which the application sent them.
        package let number: Int
        package var result: Result<SentMessage, ClientError>?
        package var writes = 0
        package var refusals = 0

        package init(receiver: PartyID, number: Int) {
            self.receiver = receiver
            self.number = number
        }
    }

    package let name: String
    package let user: UserID
    package let device: DeviceID
    package let receives: ReceiveStart?

    package var received: [ChannelID: Received] = [:]
    package var sent: [ClientMessageID: Sent] = [:]
    /// Messages that were refused for the moment: they may come after later ones.
    package var refused: Set<ClientMessageID> = []
    /// Heads of all channels when the first index that was read to its end was asked for, or later.
    package var baseline: [ChannelID: ChannelState]?
    /// Heads of all channels before the first login.
    package var headsBefore: [ChannelID: ChannelState]?
    package var linksLost = 0
    package var streamsEnded = 0
    /// Groups that the user left once.
    package var hasLeft: Set<ChannelID> = []
    /// When it asked for a connection.
    package private(set) var connects: [Duration] = []
    package private(set) var failures: [String] = []

    package init(name: String, user: UserID, device: DeviceID, receives: ReceiveStart?) {
        self.name = name
        self.user = user
        self.device = device
        self.receives = receives
    }

    package mutating func fail(_ text: String) {
        if self.failures.count < 5 { self.failures.append("\(self.name): \(text)") }
    }

    // MARK: What it is told

    /// Looks at an update.
    ///
    /// - Parameter reads: the user reads it.
    /// - Returns: up to where they read, if they did.
    package mutating func took(_ update: ClientUpdate, reads: Bool) -> ChannelMessage? {
        switch update {
        case .message(let message):
            return self.took(message, reads: reads)
        case .channelRestarted(let channel, let epoch):
            self.restarted(channel, epoch)
        case .messagesMissing(let channel, let epoch, let range):
            var received = self.received[channel] ?? Received(epoch: epoch)
            if !received.isEmpty, range.lowerBound.rawValue != received.next {
                self.fail("\(channel): a gap out of place")
            }
            received.missing += Array(range.lowerBound.rawValue...range.upperBound.rawValue)
            self.received[channel] = received
        case .receipt, .notice, .connected, .disconnected, .refusedForNow, .serverIsDraining:
            break
        }
        return nil
    }

    private mutating func restarted(_ channel: ChannelID, _ epoch: Epoch) {
        let known = self.received[channel]
        if known?.epoch == epoch, known?.isEmpty == false { self.fail("\(channel) began the same life anew") }
        if let known, known.formerEpochs.contains(epoch) {
            self.fail("\(channel): the old life \(epoch) came back after \(known.epoch)")
        }
        var received = Received(epoch: epoch, wasRestarted: true)
        if let known, known.epoch != epoch { received.formerEpochs = known.formerEpochs.union([known.epoch]) }
        self.received[channel] = received
    }

    private mutating func took(_ message: ChannelMessage, reads: Bool) -> ChannelMessage? {
        var received = self.received[message.channel] ?? Received(epoch: message.epoch)
        if received.epoch != message.epoch {
            self.fail(
                "\(message.channel): \(message.sequence) of \(message.epoch) without a word about it, after \(received.sequences), \(received.missing) of \(received.epoch)"
            )
            received = Received(epoch: message.epoch)
        }
        let sequence = message.sequence.rawValue
        if !received.isEmpty, sequence < received.next {
            self.fail("\(message.channel): \(sequence) again, after \(received.next - 1)")
        }
        received.sequences.append(sequence)
        received.ids[sequence] = message.id
        if reads { received.lastRead = max(received.lastRead, sequence) }
        self.received[message.channel] = received
        return reads ? message : nil
    }

    /// What became of a message.
    package mutating func completed(_ id: ClientMessageID, _ result: Result<SentMessage, ClientError>) {
        guard let sent = self.sent[id] else { return self.fail("an answer for a message that was not sent") }
        if sent.result != nil { self.fail("two answers for message \(sent.number)") }
        self.sent[id]?.result = result
    }

    /// It wants a connection.
    package mutating func connects(at now: Duration) {
        self.connects.append(now)
        let recent = self.connects.suffix(16)
        if recent.count == 16, let first = recent.first, now - first < .seconds(1) {
            self.fail("hot: 16 connections within a second, at \(now)")
        }
    }
}
