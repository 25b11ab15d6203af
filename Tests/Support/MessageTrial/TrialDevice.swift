// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import MessageJudgementSupport
import NIOCore
import Synchronization
import Tern
import TernClient
import TernMessages
import TernTesting

/// A client over real carriers, and an application that sends, reads, and keeps account of everything.
final class TrialDevice: Sendable {
    private struct State {
        var account: DeviceAccount
        var random: SeededRandom
        var lastMessage = 0
        var pausedUntil = Duration.zero
        var isHurried = false
        var wasRefused = false
        var hasEnded = false
        /// What waits for something, and for how many.
        var waits: [String: Int] = [:]
    }

    let plan: TrialPlan.Device
    let user: UserID
    let device: DeviceID
    let client: MessageClient
    private let board: TrialBoard
    private let state: Mutex<State>
    private let receipts: AsyncStream<SendReceipt>
    private let sink: AsyncStream<SendReceipt>.Continuation

    init(
        _ plan: TrialPlan.Device, user: UserID, device: DeviceID, board: TrialBoard, server: Endpoint, trust: TLSTrust
    ) throws {
        self.plan = plan
        (self.user, self.device) = (user, device)
        self.board = board
        (self.receipts, self.sink) = AsyncStream.makeStream()
        let account = DeviceAccount(name: plan.name, user: user, device: device, receives: plan.receives)
        let state = Mutex(State(account: account, random: SeededRandom(seed: plan.seed)))
        self.state = state
        let connector = try Self.makeConnector(plan.mode, trust)
        let attempts = Attempts()
        self.client = MessageClient(plan.configuration) {
            attempts.note(board.now)
            return try await connector.connect(to: server)
        }
        self.attempts = attempts
    }

    /// When a connection was asked for.
    private final class Attempts: Sendable {
        private let moments = Mutex<[Duration]>([])
        func note(_ moment: Duration) { self.moments.withLock { $0.append(moment) } }
        var all: [Duration] { self.moments.withLock { $0 } }
    }
    private let attempts: Attempts

    var attemptCount: Int { self.attempts.all.count }

    private static func makeConnector(_ mode: ConnectionPolicy.Mode, _ trust: TLSTrust) throws -> Connector {
        var policy = ConnectionPolicy(mode)
        policy.timeout = .seconds(4)
        // UDP dies here again and again, and that says nothing about it.
        (policy.distrust, policy.longestDistrust) = (.seconds(1), .seconds(1))
        var limits = ConnectionLimits()
        (limits.connectionWindow, limits.streamWindow) = (8 << 10, 4 << 10)
        return try Connector(
            applicationProtocol: .messages, tls: TLSClientConfiguration(trust: trust), policy: policy, limits: limits,
            serverName: "localhost")
    }

    // MARK: Accounts

    func fail(_ text: String) { self.state.withLock { $0.account.fail(text) } }

    /// As it is now.
    var account: DeviceAccount {
        var (account, wasRefused) = self.state.withLock { ($0.account, $0.wasRefused) }
        // Which ones were told to wait is not told.
        if wasRefused { account.refused = Set(account.sent.keys) }
        for moment in self.attempts.all { account.connects(at: moment) }
        return account
    }

    var hasEnded: Bool { self.state.withLock { $0.hasEnded } }
    /// What it waits for.
    var waits: [String] { self.state.withLock { $0.waits.filter { $0.value > 0 }.keys.sorted() } }
    var unansweredCount: Int { self.state.withLock { $0.account.sent.values.count { $0.result == nil } } }

    // MARK: Running

    /// Runs until the client is closed.
    func run() async {
        if self.plan.receives == .live {
            let heads = self.board.heads
            self.state.withLock { state in
                state.account.headsBefore = heads.compactMapValues { Self.state(of: $0) }
            }
        }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.keepConnected() }
            group.addTask { await self.readUpdates() }
            group.addTask { await self.collectAnswers() }
        }
    }

    private static func state(of sent: SentMessage) -> ChannelState? {
        guard let name = try? Name("n") else { return nil }
        return ChannelState(
            channel: sent.channel, epoch: sent.epoch, head: sent.sequence, first: .zero, delivered: .zero, read: .zero,
            unread: 0, timestamp: .none, name: name)
    }

    private func keepConnected() async {
        do {
            try await self.client.run()
        } catch {
            self.fail("it ended: \(error)")
        }
        self.state.withLock { $0.hasEnded = true }
        self.sink.finish()
    }

    private func readUpdates() async {
        do {
            for try await update in self.client.updates {
                await self.pauseIfTold()
                self.took(update)
            }
        } catch {
            self.fail("its updates ended: \(error)")
        }
    }

    private func pauseIfTold() async {
        let isHurried = self.state.withLock { $0.isHurried }
        if self.plan.pace > .zero, !isHurried { try? await Task.sleep(for: self.plan.pace) }
        while case let rest = self.state.withLock({ $0.pausedUntil }) - self.board.now, rest > .zero {
            try? await Task.sleep(for: min(rest, .milliseconds(50)))
        }
    }

    private func took(_ update: ClientUpdate) {
        let (read, saysEpoch) = self.state.withLock { state -> (ChannelMessage?, Bool) in
            switch update {
            case .disconnected: state.account.linksLost += 1
            case .refusedForNow: state.wasRefused = true
            case .message(let message): self.check(message, &state.account)
            default: break
            }
            return (state.account.took(update, reads: state.random.chance(0.2)), state.random.chance(0.5))
        }
        guard let read else { return }
        if saysEpoch { self.client.markRead(read) } else { self.client.markRead(read.channel, upTo: read.sequence) }
    }

    /// What was written is what is read.
    private func check(_ message: ChannelMessage, _ account: inout DeviceAccount) {
        let text = String(buffer: message.payload)
        let expected = Self.text(message.id, by: message.sender)
        if !text.hasPrefix(expected) {
            account.fail("\(message.channel): \(message.sequence) is \(text.prefix(60)), and not \(expected)")
        }
        if message.senderDevice?.rawValue != UInt32(truncatingIfNeeded: message.id.high) {
            let device = message.senderDevice.map { "\($0)" } ?? "nobody"
            account.fail("\(message.channel): \(message.sequence) is said to be from device \(device)")
        }
    }

    private func collectAnswers() async {
        for await receipt in self.receipts {
            let result: Result<SentMessage, ClientError>
            do {
                result = .success(try await receipt.acknowledgement())
            } catch {
                result = .failure(error as? ClientError ?? ClientError(.closed, message: "\(error)"))
            }
            self.answered(receipt.id, result)
        }
    }

    private func answered(_ id: ClientMessageID, _ result: Result<SentMessage, ClientError>) {
        self.board.answered(self.user, id, result)
        self.state.withLock { $0.account.completed(id, result) }
    }

    // MARK: What the application does

    static func text(_ id: ClientMessageID, by user: UserID) -> String { "\(user.rawValue) \(id.high) \(id.low);" }

    /// Several users give the same ids, and the devices of one do not.
    func send(to receiver: PartyID, count: Int, size: Int) async {
        for _ in 0..<count {
            let id = self.state.withLock { state in
                state.lastMessage += 1
                let id = ClientMessageID(high: UInt64(self.device.rawValue), low: UInt64(state.lastMessage))
                state.account.sent[id] = DeviceAccount.Sent(receiver: receiver, number: state.lastMessage)
                return id
            }
            self.board.asked(self.user, id, to: receiver)
            let text = Self.text(id, by: self.user)
            let payload = ByteBuffer(string: text + String(repeating: ".", count: max(0, size - text.utf8.count)))
            self.waits("room for message \(id.low)", 1)
            defer { self.waits("room for message \(id.low)", -1) }
            do {
                self.sink.yield(try await self.client.enqueue(payload, to: receiver, id: id))
            } catch {
                self.answered(id, .failure(error as? ClientError ?? ClientError(.closed, message: "\(error)")))
            }
        }
    }

    private func waits(_ what: String, _ change: Int) {
        self.state.withLock { $0.waits[what, default: 0] += change }
    }

    func waiting(_ what: String, _ body: () async -> Void) async {
        self.waits(what, 1)
        await body()
        self.waits(what, -1)
    }

    func pauseReading(for time: Duration) {
        let until = self.board.now + time
        self.state.withLock { $0.pausedUntil = until }
    }

    /// From now on it reads what comes.
    func hurry() {
        self.state.withLock { state in
            state.isHurried = true
            state.pausedUntil = .zero
        }
    }

    /// The user is about to leave a group.
    func leaves(_ channel: ChannelID) {
        self.state.withLock { _ = $0.account.hasLeft.insert(channel) }
    }

    /// Asks something.
    ///
    /// - Parameter codes: answers that are right, too.
    /// - Returns: `nil` when it was refused so, with whether for the moment only.
    func ask<Answer: Sendable>(
        _ what: String, orElse codes: [ErrorCode] = [], _ body: (MessageClient) async throws -> Answer
    ) async -> TrialAnswer<Answer> {
        self.waits(what, 1)
        defer { self.waits(what, -1) }
        do {
            return .answer(try await body(self.client))
        } catch let error as ClientError {
            if error.failure?.isRetryable == true || error.code == .timedOut { return .notNow }
            if let failure = error.failure, codes.contains(failure.code) { return .refused(failure.code) }
            self.fail("\(what): \(error)")
        } catch {
            self.fail("\(what): \(error)")
        }
        return .notNow
    }

    /// Asks something until it is answered.
    func insist<Answer: Sendable>(
        _ what: String, _ body: (MessageClient) async throws -> Answer
    ) async -> TrialAnswer<Answer> {
        for _ in 0..<50 {
            let answer = await self.ask(what, body)
            guard case .notNow = answer else { return answer }
            try? await Task.sleep(for: .milliseconds(100))
        }
        return .notNow
    }

    /// Whether it comes to its end.
    func ends(within time: Duration) async -> Bool {
        let began = ContinuousClock.now
        while !self.hasEnded, began.duration(to: .now) < time { try? await Task.sleep(for: .milliseconds(10)) }
        return self.hasEnded
    }

    /// Sends to itself until one comes back, and learns all channels: by then its client has seen an index. What was stored before
    /// that index a live client is not given.
    func settleIn() async {
        await self.send(to: PartyID(self.user), count: 1, size: 0)
        guard self.plan.receives != nil else { return }
        await self.waiting("a message to itself") { await self.sendUntilOneComes() }
        while !Task.isCancelled {
            guard case .answer(let states) = await self.ask("the index", { try await $0.channels() }) else { continue }
            let baseline = Dictionary(states.map { ($0.channel, $0) }) { first, _ in first }
            return self.state.withLock { $0.account.baseline = baseline }
        }
    }

    private func sendUntilOneComes() async {
        let own = ChannelID(direct: self.user, self.user)
        var polls = 0
        while self.state.withLock({ $0.account.received[own] == nil && !$0.hasEnded }), !Task.isCancelled {
            polls += 1
            if polls % 100 == 0 { await self.send(to: PartyID(self.user), count: 1, size: 0) }
            try? await Task.sleep(for: .milliseconds(10))
        }
    }
}

/// What came of a request.
enum TrialAnswer<Answer: Sendable>: Sendable {
    case answer(Answer)
    case refused(ErrorCode)
    /// It may have been done all the same, the first time that it was asked.
    case notNow
}
