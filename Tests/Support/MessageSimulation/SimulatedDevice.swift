// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
package import TernClient
package import TernMessages

/// A device: a client's machine, and an application that keeps account of all that it is told.
package final class SimulatedDevice {
    /// What the application got of one channel.
    package struct Received {
        package var epoch: Epoch
        package var sequences: [UInt64] = []
        package var ids: [UInt64: ClientMessageID] = [:]
        /// What it was told to be missing.
        package var missing: [UInt64] = []
        package var wasRestarted = false
        package var lastRead: UInt64 = 0

        /// The next sequence that may come; 0 before the first.
        var next: UInt64 { (max(self.sequences.last ?? 0, self.missing.last ?? 0)) + 1 }
        var isEmpty: Bool { self.sequences.isEmpty && self.missing.isEmpty }
    }

    package struct Sent {
        package let receiver: PartyID
        package let number: Int
        package var result: Result<SentMessage, ClientError>?
        package var writes = 0
        package var refusals = 0
    }

    package let name: String
    package let user: UserID
    package let device: DeviceID
    package let configuration: ClientConfiguration
    package var machine: ClientMachine
    /// The application takes updates as they come; otherwise now and then.
    package var isReading = true
    package var wantsToRead = false

    package var received: [ChannelID: Received] = [:]
    package var sent: [ClientMessageID: Sent] = [:]
    package var accepted: Set<ClientMessageID> = []
    package var openRequests: [RequestTag: Resource] = [:]
    package var results: [RequestTag: Result<RequestFrame, ClientError>] = [:]
    /// Groups that it asked to be made.
    package var made: [RequestTag: Name] = [:]
    package var hasEnded = false
    package var endError: ClientError?
    package var failures: [String] = []
    /// Heads of all channels when the first index that was read to its end was asked for.
    package var baseline: [ChannelID: ChannelState]?
    /// Heads of all channels before the first login.
    package var headsBefore: [ChannelID: ChannelState]?
    package var indexPass: [ChannelID: ChannelState] = [:]
    package var linksLost = 0
    package var connects: [Moment] = []
    package var effectCount = 0
    /// Effects since the beginning of a second.
    package var effectsOfSecond: (second: Int, count: Int) = (0, 0)
    /// Before this nothing is to be written to a receiver.
    package var holds: [PartyID: Moment] = [:]
    package var receiptHold: Moment?
    /// Groups that it left once.
    package var hasLeft: Set<ChannelID> = []
    package var nextMessage = 0
    /// When a server said go-offline, by its connection.
    package var toldToGo: [SessionNumber: Moment] = [:]
    package var streamsEnded = 0

    package init(name: String, user: UserID, device: DeviceID, configuration: ClientConfiguration, seed: UInt64) {
        self.name = name
        self.user = user
        self.device = device
        self.configuration = configuration
        self.machine = ClientMachine(configuration, seed: seed)
    }

    package func fail(_ text: String) {
        if self.failures.count < 5 { self.failures.append("\(self.name): \(text)") }
    }

    // MARK: The application

    /// Looks at an update.
    ///
    /// - Returns: up to where the user read, if they did.
    package func took(_ update: ClientUpdate, reads: Bool) -> (ChannelMessage)? {
        switch update {
        case .message(let message):
            return self.took(message, reads: reads)
        case .channelRestarted(let channel, let epoch):
            if self.received[channel]?.epoch == epoch, self.received[channel]?.isEmpty == false {
                self.fail("\(channel) began the same life anew")
            }
            if let known = self.received[channel]?.epoch, epoch.rawValue < known.rawValue {
                // The epochs of the model grow.
                self.fail("\(channel): the old life \(epoch) came back after \(known)")
            }
            self.received[channel] = Received(epoch: epoch, wasRestarted: true)
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

    private func took(_ message: ChannelMessage, reads: Bool) -> ChannelMessage? {
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

    package func completed(_ id: ClientMessageID, _ result: Result<SentMessage, ClientError>) {
        guard let sent = self.sent[id] else { return self.fail("an answer for a message that was not sent") }
        if sent.result != nil { self.fail("two answers for message \(sent.number)") }
        self.sent[id]?.result = result
    }

    package func completed(_ tag: RequestTag, _ result: Result<RequestFrame, ClientError>) {
        guard self.openRequests.removeValue(forKey: tag) != nil else {
            return self.fail("an answer that nobody waits for (\(tag))")
        }
        self.results[tag] = result
    }

    /// Counts what the machine wants to be done.
    package func count(_ effects: Int, at now: Moment) {
        let second = Int(now.components.seconds)
        if self.effectsOfSecond.second != second { self.effectsOfSecond = (second, 0) }
        self.effectsOfSecond.count += effects
        self.effectCount += effects
        if self.effectsOfSecond.count > 1_500 {
            self.fail("hot: \(self.effectsOfSecond.count) effects in second \(second)")
        }
    }

    package func connects(at now: Moment) {
        self.connects.append(now)
        let recent = self.connects.suffix(16)
        if recent.count == 16, let first = recent.first, now - first < .seconds(1) {
            self.fail("hot: 16 connections within a second, at \(now)")
        }
    }
}
