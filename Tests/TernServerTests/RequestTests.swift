// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import TernServer
import TernTransport
import TestTimeLimits
import Testing

@Suite(.untilItHangs) struct RequestTests {
    /// A request stream that is written frame by frame.
    private func open(_ client: TestClient) async throws -> TernTransport.Stream {
        let stream = try await client.connection.openStream()
        var kind = ByteBuffer()
        StreamKind.requests.encode(into: &kind)
        try await stream.write(kind)
        return stream
    }

    private func responses(_ stream: TernTransport.Stream) async throws -> [RequestFrame] {
        var decoder = RequestFrameDecoder(maximumBodyLength: RequestFrame.maximumResponseLength)
        var found: [RequestFrame] = []
        while let bytes = try await stream.read() {
            decoder.append(bytes)
            while let frame = try decoder.next() { found.append(frame) }
        }
        try decoder.finish()
        return found
    }

    @Test func manyInFlightAreEachAnsweredOnce() async throws {
        try await Harness.run(configure: { $0.maximumRequestsInFlight = 4 }) { harness in
            let alice = try await harness.client("alice")
            let stream = try await self.open(alice)
            var bytes = ByteBuffer()
            for identifier in 0..<500 {
                try ResolveUser(name: try Name("user\(identifier % 7)")).frame(identifier: UInt64(identifier)).encode(
                    into: &bytes)
            }
            try await stream.finish(bytes)
            let responses = try await self.responses(stream)
            #expect(Set(responses.map(\.identifier)) == Set(0..<500))
            #expect(responses.count == 500)
            let users = try responses.map { try ResolveUser.answer(in: $0).user }
            #expect(Set(users).count == 7)
        }
    }

    @Test func wrongRequestsAreAnsweredAndTheStreamGoesOn() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let cases: [(RequestFrame, ErrorCode)] = [
                (RequestFrame(identifier: 7, resource: Resource(rawValue: 9999)), .unsupportedResource),
                (RequestFrame(identifier: 7, resource: .history), .malformed),
                (RequestFrame(identifier: 7, resource: .noOperation, status: .internal), .malformed),
                (RequestFrame(identifier: 7, resource: .createGroup, body: ByteBuffer(bytes: [1, 10])), .invalidName),
                (
                    RequestFrame(identifier: 7, resource: .findGroup, body: ByteBuffer(bytes: [2, 0xff, 0xff])),
                    .malformed
                ),
                (UserNames(users: Array(repeating: alice.user, count: 257)).frame(identifier: 7), .malformed),
            ]
            for (frame, code) in cases {
                let response = try await alice.ask(frame: frame)
                #expect(response.status == code)
                #expect(response.identifier == 7)
                #expect(response.resource == frame.resource)
            }
            _ = try await alice.ask(NoOperation())
            let strangers = History(
                channel: ChannelID(direct: try #require(UserID(rawValue: 8)), try #require(UserID(rawValue: 9))),
                from: .zero)
            let refused = await #expect(throws: Failure.self) { try await alice.ask(strangers) }
            #expect(refused?.code == .notAMember)
        }
    }

    @Test func aBodyOverTheLimitEndsTheStream() async throws {
        try await Harness.run(configure: { $0.maximumRequestLength = 64 }) { harness in
            let alice = try await harness.client("alice")
            let stream = try await self.open(alice)
            var bytes = try NoOperation().frame(identifier: 1).encoded()
            try RequestFrame(identifier: 2, resource: .history, body: ByteBuffer(repeating: 0, count: 65)).encode(
                into: &bytes)
            try NoOperation().frame(identifier: 3).encode(into: &bytes)
            try await stream.write(bytes)
            let responses = try await self.responses(stream)
            #expect(responses.map(\.identifier).sorted() == [1, 2])
            #expect(responses.first { $0.identifier == 2 }?.status == .payloadTooLarge)
            _ = try await alice.ask(NoOperation())
        }
    }

    @Test func aFrameThatIsCutShortIsAnswered() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let stream = try await self.open(alice)
            var bytes = try NoOperation().frame(identifier: 1).encoded()
            bytes.writeRepeatingByte(0, count: 15)
            try await stream.finish(bytes)
            let responses = try await self.responses(stream)
            #expect(responses.contains { $0.identifier == 0 && $0.status == .malformed })
            #expect(responses.contains { $0.identifier == 1 && $0.status == .none })
        }
    }

    /// Whoever gives a stream up has said nothing wrong.
    @Test func aFrameThatIsGivenUpIsNotAnswered() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let stream = try await self.open(alice)
            var bytes = try NoOperation().frame(identifier: 1).encoded()
            bytes.writeRepeatingByte(0, count: 15)
            try await stream.write(bytes)
            // The server has read what stands before the half frame, and what came with it.
            let first = try #require(try await stream.read())
            stream.reset(code: CloseCode.streamCancelled.rawValue)
            var decoder = RequestFrameDecoder(maximumBodyLength: RequestFrame.maximumResponseLength)
            decoder.append(first)
            while let more = try await stream.read() { decoder.append(more) }
            #expect(try decoder.next()?.identifier == 1)
            #expect(try decoder.next() == nil)
            try decoder.finish()
        }
    }

    /// The field has 64 bits, and every number in it a meaning.
    @Test func aPageMayBeginBeyondEveryLog() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            for text in ["1", "2"] { try await alice.send(text, to: PartyID(alice.user)) }
            let channel = ChannelID(direct: alice.user, alice.user)
            for from in [3, 1 << 44 - 1, 1 << 44, 1 << 63, .max] as [UInt64] {
                for (direction, expected) in [(UInt8(0), []), (1, [1, 2])] as [(UInt8, [UInt64])] {
                    var body = ByteBuffer()
                    channel.encode(into: &body)
                    body.writeMultipleIntegers(from, direction, UInt16(0))
                    let frame = RequestFrame(identifier: 7, resource: .history, body: body)
                    let answer = try History.answer(in: try await alice.ask(frame: frame))
                    #expect(answer.messages.map(\.sequence.rawValue) == expected, "from \(from), \(direction)")
                    #expect(answer.head.rawValue == 2)
                    #expect(!answer.hasMore)
                }
            }
        }
    }

    @Test func aCancelledRequestIsAnsweredOnce() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            let stream = try await self.open(alice)
            var bytes = try ResolveUser(name: try Name("bob")).frame(identifier: 1).encoded()
            try RequestFrame(identifier: 1, resource: .cancel).encode(into: &bytes)
            try RequestFrame(identifier: 99, resource: .cancel).encode(into: &bytes)
            try await stream.finish(bytes)
            let responses = try await self.responses(stream)
            #expect(responses.map(\.identifier) == [1])
            #expect(responses.first.map { [.none, .cancelled].contains($0.status) } == true)
        }
    }

    @Test func theIndexIsPaged() async throws {
        try await Harness.run { harness in
            let alice = try await harness.client("alice")
            for index in 0..<7 {
                let group = try await alice.ask(CreateGroup(name: try Name("group\(index)"))).group
                try await alice.send("hello", to: PartyID(group))
            }
            var names: [String] = []
            var cursor: UInt64 = 0
            repeat {
                let page = try await alice.ask(SyncIndex(cursor: cursor, limit: 3))
                names += page.channels.map(\.name.text)
                cursor = page.next
            } while cursor != 0
            #expect(names.sorted() == (0..<7).map { "group\($0)" })
        }
    }
}
