// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import Testing

/// What is kept of a stream's bytes holds no more memory than its own size says: a slice keeps the whole buffer alive.
@Suite struct PinnedMemoryTests {
    /// Bytes as a carrier hands them over: in a buffer much larger than they are.
    private func received(_ bytes: ByteBuffer, in capacity: Int = 64 << 10) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(capacity)
        buffer.writeImmutableBuffer(bytes)
        return buffer
    }

    private func message(payload: Int) -> Message {
        Message(
            type: .text, extensions: [MessageExtension(.epoch, integer: UInt64(1))],
            payload: ByteBuffer(repeating: 7, count: payload))
    }

    /// What a message may hold beside twice its size: a buffer as small as this is not worth a copy.
    private let slack = 512

    @Test(arguments: [0, 1, 40, 500, 5_000, 40_000])
    func aMessageHoldsLittleMoreThanItself(payload: Int) throws {
        var decoder = MessageDecoder()
        let sent = self.message(payload: payload)
        decoder.append(self.received(try sent.encoded()))
        let message = try #require(try decoder.next())
        #expect(message == sent)
        let size = message.encodedLength
        #expect(message.payload.storageCapacity <= 2 * size + self.slack)
        for item in message.extensions.all { #expect(item.value.storageCapacity <= 2 * size + self.slack) }
    }

    @Test func aLargeMessageIsNotCopied() throws {
        var decoder = MessageDecoder()
        let bytes = self.received(try self.message(payload: 60_000).encoded())
        decoder.append(bytes)
        let payload = try #require(try decoder.next()).payload
        #expect(payload.storageCapacity == bytes.storageCapacity)
    }

    @Test func aDecoderThatWaitsHoldsNoMoreThanItLacks() throws {
        // What is left of a large piece: the start of a message.
        var bytes = try self.message(payload: 10).encoded()
        bytes.writeImmutableBuffer(ByteBuffer(repeating: 4, count: 9))
        var messages = MessageDecoder()
        messages.append(self.received(bytes))
        _ = try messages.next()
        #expect(try messages.next() == nil)
        #expect(messages.heldBytes <= self.slack)
        var frames = RequestFrameDecoder(maximumBodyLength: 1000)
        frames.append(self.received(ByteBuffer(repeating: 0, count: 9)))
        #expect(try frames.next() == nil)
        #expect(frames.heldBytes <= self.slack)
    }

    @Test(arguments: [0, 1, 40, 500, 5_000])
    func aRequestHoldsLittleMoreThanItself(body: Int) throws {
        var decoder = RequestFrameDecoder(maximumBodyLength: 1 << 16)
        let frame = RequestFrame(identifier: 1, resource: .history, body: ByteBuffer(repeating: 7, count: body))
        decoder.append(self.received(try frame.encoded()))
        let read = try #require(try decoder.next())
        #expect(read == frame)
        #expect(read.body.storageCapacity <= 2 * body + self.slack)
    }

    /// A page of history is kept message by message: none of them may keep the page.
    @Test func aMessageOfAPageDoesNotHoldThePage() throws {
        let channel = ChannelID(group: try #require(GroupID(rawValue: 1 << 36)))
        let user = try #require(UserID(rawValue: 1))
        let messages = (1...500).map { sequence in
            ChannelMessage(
                type: .text, sender: user, senderDevice: nil, receiver: PartyID(rawValue: 1 << 36) ?? .server,
                channel: channel, epoch: Epoch(rawValue: 1), sequence: MessageSequence(rawValue: sequence) ?? .zero,
                timestamp: .none, id: .random(), payload: ByteBuffer(string: "hello"))
        }
        let page = History.Answer(
            hasMore: false, epoch: Epoch(rawValue: 1), head: .zero, first: .zero, messages: messages)
        var body = page.encodedBody()
        let read = try History.Answer(decoding: &body)
        #expect(read.messages == messages)
        for message in read.messages { #expect(message.payload.storageCapacity <= 256) }
    }
}
