// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import MessageJudgementSupport
import TernClient
import TernMessages

/// What everybody hears when everybody has read everything.
struct LastMarks<Sessions: ServerSessions> {
    private(set) var failures: [String] = []

    init(world: MessageWorld<ModelServer<Sessions>>) {
        let store = world.server.store
        for device in world.devices {
            for (tag, channel) in device.statesAsked.sorted(by: { $0.key < $1.key }) {
                self.judge(device.results[tag], of: channel, device, world)
            }
            for (channel, sequence) in device.lastMarks.sorted(by: { $0.key < $1.key }) {
                let place = SimulatedDevice.ReceiptPlace(
                    channel: channel, user: device.user, device: device.device, kind: .read)
                for other in world.devices where other !== device && store.isMember(other.user, of: channel) {
                    // Whoever has no room for more receipts does without.
                    guard other.configuration.updateCapacity >= 8,
                        store.first(in: channel, for: other.user) <= sequence
                    else { continue }
                    if other.heardReceipts[place] != sequence {
                        let heard = other.heardReceipts[place].map { "\($0)" } ?? "nothing"
                        self.failures.append(
                            "\(other.name) heard of \(heard), and \(device.name) read \(channel) up to \(sequence)")
                    }
                }
            }
        }
    }

    /// What the server counts is what the user's devices have not read.
    private mutating func judge(
        _ result: Result<RequestFrame, ClientError>?, of channel: ChannelID, _ device: SimulatedDevice,
        _ world: MessageWorld<ModelServer<Sessions>>
    ) {
        guard case .success(let frame) = result, frame.status == .none, var body = Optional(frame.body),
            let state = try? ChannelState(decoding: &body), let log = world.server.store.logs[channel]
        else { return self.failures.append("\(device.name) was not told the state of \(channel)") }
        let devices = world.devices.filter { $0.user == device.user }
        guard !devices.contains(where: { $0.account.hasLeft.contains(channel) }) else { return }
        let read =
            devices.compactMap { other in
                other.account.received[channel].flatMap { $0.epoch == log.epoch ? $0.lastRead : nil }
            }.max() ?? 0
        let unread = log.messages.dropFirst(Int(read)).count { $0?.message.sender != device.user }
        if state.unread != unread {
            self.failures.append(
                "\(device.name): \(state.unread) of \(channel) are unread by count, and \(unread) in fact")
        }
    }
}
