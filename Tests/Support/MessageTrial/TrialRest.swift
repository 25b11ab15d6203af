// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import MessageJudgementSupport
import TernClient
import TernMessages

/// Waits until nobody has anything left to do: for events, with a limit beyond which something hangs.
struct TrialRest {
    let devices: [TrialDevice]
    let board: TrialBoard
    let relay: TrialRelay
    let tell: @Sendable (String) -> Void

    /// - Returns: what did not come to rest.
    func settle() async -> [String] {
        var failures: [String] = []
        let limit = self.board.now + .seconds(90)
        for device in self.devices { device.hurry() }
        while case let count = self.devices.map(\.unansweredCount).reduce(0, +), count > 0 {
            guard self.board.now < limit else {
                failures.append("\(count) messages have no answer")
                break
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
        while case let lacks = await self.lacks(), !lacks.isEmpty {
            guard self.board.now < limit else {
                failures += lacks
                break
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
        self.tell("at rest \(self.board.now)")
        return failures + (failures.isEmpty ? await self.hotness() : [])
    }

    /// What devices do not have yet, or the server does not know yet, by what the server says of every channel.
    private func lacks() async -> [String] {
        var lacks: [String] = []
        for device in self.devices where device.plan.receives != nil {
            guard case .answer(let states) = await device.ask("the index", { try await $0.channels() }) else {
                lacks.append("\(device.plan.name) gets no index")
                continue
            }
            let account = device.account
            for state in states { lacks += Self.lack(account, state) }
        }
        return lacks
    }

    private static func lack(_ account: DeviceAccount, _ state: ChannelState) -> [String] {
        let received = account.received[state.channel]
        let last = received?.sequences.last ?? 0
        let wanted: UInt64 =
            switch account.receives {
            case .sequence: state.first.rawValue
            default: max((account.baseline?[state.channel]?.head.rawValue ?? 0) + 1, state.since?.rawValue ?? 1)
            }
        if state.head.rawValue >= wanted, last < state.head.rawValue {
            return ["\(account.name): \(state.channel) is at \(state.head), and it has \(last)"]
        }
        guard last >= state.first.rawValue, let received else { return [] }
        guard state.delivered.rawValue == last,
            received.lastRead < state.first.rawValue || state.read.rawValue >= received.lastRead
        else {
            return ["\(account.name): \(state.channel) is at \(last), and the server knows of \(state.delivered)"]
        }
        return []
    }

    /// Clients without anything to do say little, and stay where they are.
    private func hotness() async -> [String] {
        let connects = self.devices.map(\.attemptCount).reduce(0, +)
        let sent = (try? await self.relay.sentByClients()) ?? 0
        let began = self.board.now
        try? await Task.sleep(for: .milliseconds(1_500))
        let seconds = (self.board.now - began) / .seconds(1)
        let more = (((try? await self.relay.sentByClients()) ?? 0) - sent)
        let allowed = 25 * Double(self.devices.count) * seconds
        var failures: [String] = []
        if Double(more) > allowed {
            failures.append("hot: clients at rest sent \(more) packets in \(seconds) seconds")
        }
        let again = self.devices.map(\.attemptCount).reduce(0, +) - connects
        if Double(again) > 2 * Double(self.devices.count) * seconds {
            failures.append("hot: clients at rest connected \(again) times in \(seconds) seconds")
        }
        return failures
    }
}
