// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Synchronization
import TernMessages
import TernStore
import TernTransport
import TestTimeLimits
import Testing

@testable import TernServer

/// What waits for a client that does not read is counted by the memory that it holds.
@Suite(.untilItHangs) struct SessionMemoryTests {
    /// As a channel-send stream makes it of a small message that came in a large buffer.
    private func message(_ sequence: UInt64, text: String) throws -> CommittedMessage {
        var bytes = ByteBuffer()
        bytes.reserveCapacity(64 << 10)
        let user = try #require(UserID(rawValue: 1))
        let sent = OutgoingMessage(
            sender: user, receiver: PartyID(rawValue: 2) ?? .server, id: ClientMessageID(high: 1, low: sequence),
            payload: ByteBuffer(string: text))
        try sent.message.encode(into: &bytes)
        var decoder = MessageDecoder()
        decoder.append(bytes)
        let read = try OutgoingMessage(try #require(try decoder.next()))
        let draft = Draft(
            channel: .direct(1, 2), sender: DeviceKey(user: 1, device: 1), key: IdempotencyKey(high: 1, low: sequence),
            type: 32, clientTimestamp: 0, payload: read.payload)
        return CommittedMessage(
            draft: draft, receipt: TernStore.Receipt(epoch: 9, sequence: sequence, timestamp: 1, isDuplicate: false))
    }

    @Test func messagesThatNobodyReadsHoldNoMoreThanTheLimit() throws {
        var state = PushState(maximumBytes: 1 << 20, maximumFeeds: 4)
        var held = 0
        for sequence in 1...20_000 as ClosedRange<UInt64> {
            let message = try self.message(sequence, text: "hi")
            let outcome = state.offer(message)
            guard outcome.switchedToPull == nil else { break }
            held += message.draft.payload.storageCapacity
        }
        #expect(held <= 1 << 20)
        #expect(state.pulling.count == 1)
    }

    /// Whoever hands over a slice of something large pays for what it keeps.
    @Test func aSliceIsChargedWithWhatItKeeps() {
        var state = PushState(maximumBytes: 1 << 20, maximumFeeds: 4)
        var large = ByteBuffer(repeating: 0, count: 512 << 10)
        let slice = large.readSlice(length: 1) ?? ByteBuffer()
        var taken = 0
        for sequence in 1...100 as ClosedRange<UInt64> {
            let draft = Draft(
                channel: .direct(1, 2), sender: DeviceKey(user: 1, device: 1),
                key: IdempotencyKey(high: 1, low: sequence), type: 32, clientTimestamp: 0, payload: slice)
            let receipt = TernStore.Receipt(epoch: 9, sequence: sequence, timestamp: 1, isDuplicate: false)
            if state.offer(CommittedMessage(draft: draft, receipt: receipt)).switchedToPull == nil { taken += 1 }
            if !state.pulling.isEmpty { break }
        }
        #expect(taken <= 2)
    }

    /// Pages that nobody reads: the server stops making more of them, over all streams of a connection together.
    @Test func responsesThatNobodyReadsAreBoundedForTheWholeConnection() async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 4096
        let small = limits
        try await Harness.run(configure: {
            $0.maximumResponseBytes = 1 << 20
            $0.maximumPageBytes = 256 << 10
        }) { harness in
            let alice = try await harness.client("alice")
            let own = PartyID(alice.user)
            for _ in 0..<16 { try await alice.send(String(repeating: "x", count: 60_000), to: own) }
            let reader = try await TestClient(harness.connect(limits: small), token: "dev:alice/other")
            let channel = ChannelID(direct: alice.user, alice.user)
            var streams: [TernTransport.Stream] = []
            for _ in 0..<20 {
                let stream = try await reader.connection.openStream()
                var bytes = ByteBuffer()
                StreamKind.requests.encode(into: &bytes)
                for identifier in 1...20 {
                    try History(channel: channel, from: .zero).frame(identifier: UInt64(identifier))
                        .encode(into: &bytes)
                }
                try await stream.write(bytes)
                streams.append(stream)
            }
            let sessions = harness.server.hub.sessions(of: alice.user)
            let session = try #require(sessions.first { $0.device != alice.answer.device })
            // As many as there is room for are made; then everything stands still until the client reads.
            while session.responseRoom.waiting == 0 { await Task.yield() }
            #expect(session.responseRoom.taken <= 1 << 20)
            // It reads on, and every request is answered.
            try await withThrowingTaskGroup(of: Int.self) { readers in
                for stream in streams { readers.addTask { try await Self.countAnswers(on: stream) } }
                for try await answers in readers { #expect(answers == 20) }
            }
            while session.responseRoom.taken > 0 { await Task.yield() }
        }
    }

    private static func countAnswers(on stream: TernTransport.Stream) async throws -> Int {
        try await stream.finish()
        var decoder = RequestFrameDecoder(maximumBodyLength: RequestFrame.maximumResponseLength)
        var answers = 0
        while let bytes = try await stream.read() {
            decoder.append(bytes)
            while let frame = try decoder.next() { answers += frame.status == .none ? 1 : 0 }
        }
        return answers
    }
}
