// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import MessageJudgementSupport
package import TernClient
package import TernMessages

/// A device: a client's machine, and an application that keeps account of all that it is told.
package final class SimulatedDevice {
    package struct ReceiptPlace: Hashable {
        package let channel: ChannelID
        package let user: UserID
        package let device: DeviceID
        package let kind: Receipt.Kind
    }

    package var account: DeviceAccount
    package let configuration: ClientConfiguration
    package var machine: ClientMachine
    /// The application takes updates as they come; otherwise now and then.
    package var isReading = true
    package var wantsToRead = false

    package var accepted: Set<ClientMessageID> = []
    package var openRequests: [RequestTag: Resource] = [:]
    package var results: [RequestTag: Result<RequestFrame, ClientError>] = [:]
    /// Groups that it asked to be made.
    package var made: [RequestTag: Name] = [:]
    package var hasEnded = false
    package var endError: ClientError?
    package var indexPass: [ChannelID: ChannelState] = [:]
    package var effectCount = 0
    /// Effects since the beginning of a second.
    package var effectsOfSecond: (second: Int, count: Int) = (0, 0)
    /// Before this nothing is to be written to a receiver.
    package var holds: [PartyID: Moment] = [:]
    package var receiptHold: Moment?
    package var nextMessage = 0
    /// When a server said go-offline, by its connection.
    package var toldToGo: [SessionNumber: Moment] = [:]
    /// Connections that died without a word.
    package var silentLosses = 0
    /// The last receipt of each kind that it heard of each device, by channel.
    package var heardReceipts: [ReceiptPlace: UInt64] = [:]
    /// What it marked at the end.
    package var lastMarks: [ChannelID: UInt64] = [:]
    /// States that it asked for at the end.
    package var statesAsked: [RequestTag: ChannelID] = [:]

    package init(name: String, user: UserID, device: DeviceID, configuration: ClientConfiguration, seed: UInt64) {
        self.account = DeviceAccount(name: name, user: user, device: device, receives: configuration.receives)
        self.configuration = configuration
        self.machine = ClientMachine(configuration, seed: seed)
    }

    package var name: String { self.account.name }
    package var user: UserID { self.account.user }
    package var device: DeviceID { self.account.device }

    package func fail(_ text: String) { self.account.fail(text) }

    // MARK: The application

    /// Looks at an update.
    ///
    /// - Returns: up to where the user read, if they did.
    package func took(_ update: ClientUpdate, reads: Bool) -> ChannelMessage? {
        if case .receipt(let receipt) = update { self.heard(receipt) }
        return self.account.took(update, reads: reads)
    }

    private func heard(_ receipt: Receipt) {
        guard let device = receipt.senderDevice,
            let channel = ChannelID(sender: PartyID(receipt.sender), receiver: receipt.receiver)
        else { return self.fail("a receipt of nobody: \(receipt)") }
        let place = ReceiptPlace(channel: channel, user: receipt.sender, device: device, kind: receipt.kind)
        self.heardReceipts[place] = receipt.sequence.rawValue
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
}
