// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import NIOPosix
import Synchronization
import TernMessages
import TernTesting
import TernTransport
import TestTimeLimits
import Testing

@testable import TernClient

/// A server that says what it likes, from a seed: valid messages, and such that are not quite. The client neither crashes nor hangs,
/// and what it delivers of a channel never goes back.
@Suite(.untilItHangs)
struct HostileServerTests {
    /// `TERN_MESSAGE_SEEDS=200` looks harder.
    private static let seeds = ProcessInfo.processInfo.environment["TERN_MESSAGE_SEEDS"].flatMap { UInt64($0) } ?? 6

    @Test(arguments: 1...seeds)
    func theClientOutlivesIt(seed: UInt64) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        var configuration = ClientConfiguration(token: "dev:alice", receives: seed % 2 == 0 ? .live : .sequence(1))
        configuration.requestTimeout = .milliseconds(50)
        configuration.reconnecting.initialDelay = .milliseconds(1)
        configuration.reconnecting.maximumDelay = .milliseconds(2)
        configuration.reconnecting.retriesFirstConnection = true
        let (servers, sink) = AsyncStream.makeStream(of: HostileServer.self)
        let random = SharedRandom(seed: seed)
        let client = MessageClient(configuration) {
            let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next())
            sink.yield(HostileServer(connection: Connection(adopting: pair.server), random: random))
            return Connection(adopting: pair.client)
        }
        do {
            let running = Task { try? await client.run() }
            let serving = Task {
                await withDiscardingTaskGroup { connections in
                    for await server in servers { connections.addTask { await server.run() } }
                }
            }
            let reading = Task { try await Self.read(client) }
            let asking = Task { await Self.ask(client, rounds: 12) }
            await asking.value
            sink.finish()
            serving.cancel()
            await client.close(timeout: .zero)
            running.cancel()
            _ = await running.value
            await serving.value
            do { try await reading.value } catch { #expect(error is ClientError || error is CancellationError) }
        }
    }

    /// Uses everything that answers from a server reach.
    private static func ask(_ client: MessageClient, rounds: Int) async {
        guard let one = UserID(rawValue: 1), let two = UserID(rawValue: 2), let group = GroupID(rawValue: 1 << 36),
            let name = try? Name("bob")
        else { return }
        let channel = ChannelID(direct: one, two)
        for _ in 0..<rounds {
            await withTaskGroup(of: Void.self) { tasks in
                tasks.addTask { _ = try? await withDeadline { try await client.resolveUser(name) } }
                tasks.addTask { _ = try? await withDeadline { try await client.names(of: [one, two]) } }
                tasks.addTask { _ = try? await withDeadline { try await client.joinGroup(group) } }
                tasks.addTask { _ = try? await withDeadline { try await client.channels() } }
                tasks.addTask { _ = try? await withDeadline { try await client.history(of: channel, from: .zero) } }
                tasks.addTask { _ = try? await client.enqueue(ByteBuffer(string: "hello"), to: PartyID(two)) }
                client.markRead(channel, upTo: MessageSequence(rawValue: MessageSequence.maximumRawValue) ?? .zero)
            }
        }
    }

    /// A request waits for a connection that the server accepts, which may never come.
    private static func withDeadline<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withTimeout(.milliseconds(200), body)
    }

    private static func read(_ client: MessageClient) async throws {
        var last: [ChannelID: UInt64] = [:]
        for try await update in client.updates {
            switch update {
            case .channelRestarted(let channel, _): last[channel] = nil
            case .message(let message):
                #expect(message.sequence.rawValue > last[message.channel] ?? 0)
                last[message.channel] = message.sequence.rawValue
            default: continue
            }
        }
    }
}

/// Randomness that several tasks draw from.
private final class SharedRandom: Sendable {
    private let state: Mutex<SplitMix>

    init(seed: UInt64) {
        self.state = Mutex(SplitMix(state: seed))
    }

    func draw<Value: Sendable>(_ body: (inout SplitMix) -> Value) -> Value { self.state.withLock { body(&$0) } }
}

/// One end of a connection that behaves as badly as it can.
private struct HostileServer: Sendable {
    let connection: Connection
    let random: SharedRandom

    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.pushForAWhile() }
            do {
                for try await stream in self.connection.inboundStreams { group.addTask { await self.serve(stream) } }
            } catch {
                // The client had enough.
            }
            group.cancelAll()
        }
        await self.connection.close()
    }

    private func serve(_ stream: TernTransport.Stream) async {
        do {
            guard var first = try await stream.read(), let kind = StreamKind(decoding: &first) else { return }
            switch kind {
            case .control: try await self.control(stream)
            case .requests: try await self.requests(stream, first: first)
            default: try await self.answers(stream, first: first)
            }
        } catch {
            // The client had enough.
        }
    }

    private func control(_ stream: TernTransport.Stream) async throws {
        guard let user = UserID(rawValue: 1), let device = DeviceID(rawValue: 1) else { return }
        let isRefused = self.random.draw { Int.random(in: 0..<8, using: &$0) == 0 }
        let answer = AuthenticationAnswer(
            user: user, device: device, maximumPayloadLength: .max, maximumRequestLength: 0, maximumPageCount: 0,
            idempotencyWindow: 0, durability: .full, serverName: try Name("tern"), userName: try Name("alice"),
            deviceName: try Name("default"), serverTime: .none)
        try await stream.write(
            try (isRefused ? Failure(.internal, "\u{1b}[2J\u{202e}no").message : answer.message).encoded())
        for _ in 0..<self.random.draw({ Int.random(in: 0...30, using: &$0) }) {
            try await stream.write(self.message())
            await Task.yield()
        }
        if self.random.draw({ Bool.random(using: &$0) }) { try await stream.finish() }
    }

    private func answers(_ stream: TernTransport.Stream, first: ByteBuffer) async throws {
        var decoder = MessageDecoder()
        decoder.append(first)
        while true {
            while let message = try decoder.next() {
                let isWrong = self.random.draw { Int.random(in: 0..<3, using: &$0) == 0 }
                try await stream.write(isWrong ? self.message() : try self.acknowledgement(of: message).encoded())
            }
            guard let bytes = try await stream.read() else { return }
            decoder.append(bytes)
        }
    }

    private func acknowledgement(of message: Message) throws -> Message {
        let outgoing = try OutgoingMessage(message)
        return Acknowledgement(
            sender: outgoing.sender, receiver: outgoing.receiver, sequence: self.sequence(), timestamp: .none,
            id: outgoing.id, epoch: self.epoch(), durability: .full, isDuplicate: false
        ).message
    }

    private func requests(_ stream: TernTransport.Stream, first: ByteBuffer) async throws {
        var decoder = RequestFrameDecoder(maximumBodyLength: 1 << 16)
        decoder.append(first)
        while true {
            while let frame = try decoder.next() { try await stream.write(try self.response(to: frame).encoded()) }
            guard let bytes = try await stream.read() else { return }
            decoder.append(bytes)
        }
    }

    private func response(to frame: RequestFrame) throws -> RequestFrame {
        guard let user = UserID(rawValue: 2), let group = GroupID(rawValue: 1 << 36) else { return frame }
        let name = try Name("bob")
        let channel = ChannelID(direct: UserID(rawValue: 1) ?? user, user)
        let state = ChannelState(
            channel: self.random.draw { Bool.random(using: &$0) } ? channel : ChannelID(group: group),
            epoch: self.epoch(), head: self.sequence(), first: self.sequence(), delivered: self.sequence(),
            read: self.sequence(), unread: .max, timestamp: .none, name: name)
        let messages = (0..<self.random.draw { Int.random(in: 0...3, using: &$0) }).compactMap { _ in self.content() }
        let next = self.random.draw { UInt64.random(in: 0...2, using: &$0) }
        let bodies: [Resource: ByteBuffer] = [
            .resolveUser: ResolveUser.Answer(user: user).encodedBody(),
            .userNames: UserNames.Answer(members: [Member(user: user, name: name)]).encodedBody(),
            .joinGroup: GroupState(group: group, isMember: true, memberCount: .max, name: name).encodedBody(),
            .syncIndex: SyncIndex.Answer(next: next, channels: [state]).encodedBody(),
            .channelState: state.encodedBody(),
            .history: History.Answer(
                hasMore: next == 1, epoch: self.epoch(), head: self.sequence(), first: self.sequence(),
                messages: messages
            ).encodedBody(),
        ]
        var body = bodies[frame.resource] ?? ByteBuffer()
        self.mutate(&body, oneIn: 3)
        let status = self.random.draw {
            Int.random(in: 0..<8, using: &$0) == 0 ? UInt16.random(in: 0...70, using: &$0) : 0
        }
        let identifier = self.random.draw { Int.random(in: 0..<12, using: &$0) == 0 ? 0 : frame.identifier }
        return RequestFrame(
            identifier: identifier, resource: frame.resource, status: ErrorCode(rawValue: status), body: body)
    }

    private func pushForAWhile() async {
        do {
            for _ in 0..<10 {
                let stream = try await self.connection.openStream(.unidirectional)
                var bytes = ByteBuffer(
                    integer: UInt8(self.random.draw { Int.random(in: 0..<6, using: &$0) == 0 ? 9 : 2 }))
                for _ in 0..<self.random.draw({ Int.random(in: 0...8, using: &$0) }) {
                    bytes.writeImmutableBuffer(self.message())
                }
                try await stream.finish(bytes)
                _ = try await self.connection.sendDatagram(self.message())
                await Task.yield()
            }
        } catch {
            // The client had enough.
        }
    }

    // MARK: Nearly right

    private func sequence() -> MessageSequence {
        let values: [UInt64] = [
            0, 1, 2, 3, 4, 5, 1 << 32, MessageSequence.maximumRawValue - 1, MessageSequence.maximumRawValue,
        ]
        return self.random.draw { MessageSequence(rawValue: values.randomElement(using: &$0) ?? 0) ?? .zero }
    }

    private func epoch() -> Epoch {
        self.random.draw { Epoch(rawValue: Int.random(in: 0..<8, using: &$0) == 0 ? .max : 1) }
    }

    private func content() -> ChannelMessage? {
        guard let one = UserID(rawValue: 1), let two = UserID(rawValue: 2), let group = GroupID(rawValue: 1 << 36)
        else {
            return nil
        }
        let inGroup = self.random.draw { Bool.random(using: &$0) }
        let channel = inGroup ? ChannelID(group: group) : ChannelID(direct: one, two)
        return ChannelMessage(
            type: .text, sender: two, senderDevice: nil, receiver: inGroup ? PartyID(group) : PartyID(one),
            channel: channel, epoch: self.epoch(), sequence: self.sequence(), previousSequence: self.sequence(),
            timestamp: .none, id: ClientMessageID(high: 1, low: 1), payload: ByteBuffer(string: "hello"))
    }

    private func message() -> ByteBuffer {
        guard let one = UserID(rawValue: 1), let two = UserID(rawValue: 2) else { return ByteBuffer() }
        let channel = ChannelID(direct: one, two)
        let notice = InboxNotice(
            to: one, channel: channel, head: self.sequence(), epoch: self.epoch(),
            mustPull: self.random.draw { Bool.random(using: &$0) })
        let receipt = Receipt(kind: .read, sender: two, receiver: PartyID(one), sequence: self.sequence())
        let failure = Failure(
            ErrorCode(rawValue: self.random.draw { UInt16.random(in: 0...70, using: &$0) }), "\u{9b}0m", retryAfter: 1)
        let choices: [Message?] = [
            self.content()?.message, self.content()?.message, notice?.message, receipt.message, failure.message,
            GoOffline(retryAfter: 1).message, Message(type: .pong),
            LiveNotice(type: .typing, state: .on, sender: two, receiver: PartyID(one)).message,
            Message(type: MessageType(rawValue: 300) ?? .text),
        ]
        var bytes =
            self.random.draw { choices.compactMap { $0 }.randomElement(using: &$0) }
            .flatMap { try? $0.encoded() } ?? ByteBuffer()
        self.mutate(&bytes, oneIn: 6)
        return bytes
    }

    private func mutate(_ bytes: inout ByteBuffer, oneIn: Int) {
        guard bytes.readableBytes > 0, self.random.draw({ Int.random(in: 0..<oneIn, using: &$0) == 0 }) else { return }
        let length = bytes.readableBytes
        let (index, byte) = self.random.draw {
            (Int.random(in: 0..<length, using: &$0), UInt8.random(in: 0...255, using: &$0))
        }
        bytes.setInteger(byte, at: bytes.readerIndex + index)
        if self.random.draw({ Bool.random(using: &$0) }) {
            bytes = bytes.getSlice(at: bytes.readerIndex, length: index) ?? bytes
        }
    }
}
