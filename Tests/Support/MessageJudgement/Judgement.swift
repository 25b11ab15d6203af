// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernClient
package import TernMessages

/// What one device has, beside what it should have, when everybody is at rest.
package struct Judgement {
    private let account: DeviceAccount
    private let truth: DeviceTruth
    package private(set) var failures: [String] = []

    package init(_ account: DeviceAccount, _ truth: DeviceTruth) {
        self.account = account
        self.truth = truth
        self.judgeSent()
        if account.receives != nil {
            if account.baseline == nil { self.fail("it has no index") }
            for channel in truth.parts.keys.sorted() { self.judgeLog(of: channel) }
        }
    }

    private mutating func fail(_ text: String) { self.failures.append("\(self.account.name): \(text)") }

    // MARK: Sent

    private mutating func judgeSent() {
        var last: [PartyID: UInt64] = [:]
        let refused = Set(
            self.account.sent.filter { self.account.refused.contains($0.key) }.map(\.value.receiver))
        for (id, sent) in self.account.sent.sorted(by: { $0.value.number < $1.value.number }) {
            guard let result = sent.result else {
                self.fail("message \(sent.number) has no answer")
                continue
            }
            let allowed = 1 + self.account.linksLost + sent.refusals + self.account.streamsEnded
            if sent.writes > allowed { self.fail("message \(sent.number) was written \(sent.writes) times") }
            guard case .success(let stored) = result else { continue }
            guard let log = self.truth.logs[stored.channel], log.epoch == stored.epoch else { continue }
            let index = Int(stored.sequence.rawValue) - 1
            guard index < log.ids.count else {
                self.fail("message \(sent.number) was acknowledged, and is not in the log")
                continue
            }
            if let found = log.ids[index], found != id {
                self.fail("message \(sent.number) was acknowledged as \(stored.sequence), which is another")
            }
            if !refused.contains(sent.receiver) {
                if stored.sequence.rawValue < last[sent.receiver] ?? 0 {
                    self.fail("message \(sent.number) is out of order")
                }
                last[sent.receiver] = stored.sequence.rawValue
            }
        }
    }

    // MARK: Received

    private mutating func judgeLog(of channel: ChannelID) {
        guard let log = self.truth.logs[channel], let part = self.truth.parts[channel] else { return }
        let received = self.account.received[channel]
        let isPresent = received?.epoch == log.epoch
        let got = isPresent ? Set(received?.sequences ?? []) : []
        let missing = isPresent ? Set(received?.missing ?? []) : []
        let from = self.firstWanted(of: channel, log, part, wasRestarted: isPresent && received?.wasRestarted == true)
        let lacking = (from <= log.head ? Array(from...log.head) : []).filter {
            !got.contains($0) && log.ids[Int($0) - 1] != nil
        }
        if !lacking.isEmpty {
            self.fail("\(channel) \(log.epoch): lacks \(lacking) of \(from)...\(log.head), has \(got.sorted())")
        }
        for sequence in missing where log.ids[Int(min(sequence, log.head)) - 1] != nil || sequence > log.head {
            self.fail("\(channel): \(sequence) is said to be missing, and is not")
        }
        guard isPresent, let received, let first = received.sequences.first else { return }
        self.judgeBeginning(of: channel, first, log, part, received)
        if !self.account.hasLeft.contains(channel), first < part.first {
            self.fail("\(channel): has \(first), which was before it joined")
        }
        for (sequence, id) in received.ids.sorted(by: { $0.key < $1.key }) {
            guard sequence <= log.head, let stored = log.ids[Int(sequence) - 1] else { continue }
            if stored != id { self.fail("\(channel): \(sequence) is another message") }
        }
        if !self.account.hasLeft.contains(channel) {
            let holes =
                first <= log.head
                ? Array(first...log.head).filter { !got.contains($0) && !missing.contains($0) } : []
            if !holes.isEmpty { self.fail("\(channel): \(holes) were passed by without a word") }
            self.judgeReceipts(of: channel, part, received)
        }
    }

    /// From where everything has to be there.
    private func firstWanted(
        of channel: ChannelID, _ log: DeviceTruth.Log, _ part: DeviceTruth.Part, wasRestarted: Bool
    ) -> UInt64 {
        let since = part.since ?? 1
        let floor = self.account.hasLeft.contains(channel) ? max(part.first, since) : part.first
        if wasRestarted { return floor }
        switch self.account.receives {
        case .sequence(let sequence): return max(sequence, floor)
        case .live, nil:
            guard let state = self.account.baseline?[channel] else { return max(since, floor) }
            return max(state.epoch == log.epoch ? state.head.rawValue + 1 : 1, floor)
        }
    }

    /// Nothing old is delivered to whoever wanted only what is new.
    private mutating func judgeBeginning(
        of channel: ChannelID, _ first: UInt64, _ log: DeviceTruth.Log, _ part: DeviceTruth.Part,
        _ received: DeviceAccount.Received
    ) {
        guard self.account.receives == .live, !received.wasRestarted, !self.account.hasLeft.contains(channel)
        else { return }
        if let before = self.account.headsBefore?[channel] {
            if before.epoch == log.epoch, first <= before.head.rawValue {
                self.fail("\(channel): begins with \(first), and \(before.head) was there before the login")
            }
        } else if let since = part.since, !part.wasRestarted, first < since {
            self.fail("\(channel): begins with \(first), and we joined at \(since)")
        }
    }

    private mutating func judgeReceipts(
        of channel: ChannelID, _ part: DeviceTruth.Part, _ received: DeviceAccount.Received
    ) {
        let delivered = received.sequences.last ?? 0
        if part.delivered != delivered {
            self.fail("\(channel): received up to \(delivered), and the server knows of \(part.delivered)")
        }
        if part.read != received.lastRead {
            self.fail("\(channel): read up to \(received.lastRead), and the server knows of \(part.read)")
        }
    }
}
