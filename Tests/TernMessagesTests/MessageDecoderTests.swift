// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import Testing

@Suite struct MessageDecoderTests {
    static func text(_ payload: ByteBuffer, id: UInt64 = 1) -> Message {
        OutgoingMessage(
            sender: ProtocolExamples.alice, receiver: PartyID(ProtocolExamples.bob),
            id: ClientMessageID(high: 0, low: id),
            payload: payload
        ).message
    }

    @Test(arguments: [1, 2, 3, 7, 31, 32, 33, 64, 1000])
    func messagesAreFoundWhereverTheChunksEnd(chunk: Int) throws {
        let messages = try ProtocolExamples.messages().map(\.message)
        var stream = ByteBuffer()
        for message in messages { try message.encode(into: &stream) }
        var decoder = MessageDecoder()
        var found: [Message] = []
        while let bytes = stream.readSlice(length: min(chunk, max(1, stream.readableBytes))) {
            decoder.append(bytes)
            while let message = try decoder.next() { found.append(message) }
        }
        try decoder.finish()
        #expect(found == messages)
    }

    @Test(arguments: [0, 1, 3, 4, 255, 256, 16383, 16384, 65535, 65536, 1 << 20 - 1])
    func payloadsOfEveryLengthPass(length: Int) throws {
        let message = Self.text(ByteBuffer(repeating: 0xff, count: length))
        #expect(try Message(decoding: message.encoded()) == message)
    }

    @Test func aPayloadThatCannotBeSaidIsNotEncoded() {
        let message = Self.text(ByteBuffer(repeating: 0, count: 1 << 20))
        var buffer = ByteBuffer()
        #expect(throws: WireError.self) { try message.encode(into: &buffer) }
        #expect(buffer.readableBytes == 0)
    }

    @Test(arguments: 0...20)
    func extensionsOfEveryLengthPass(length: Int) throws {
        let type = try #require(ExtensionType(rawValue: 11))
        let value = ByteBuffer(repeating: 0xff, count: length)
        let message = Message(type: .ping, extensions: [MessageExtension(type, value: value)])
        #expect(try Message(decoding: message.encoded()) == message)
        #expect(message.encodedLength == 32 + (2 + length + 3) / 4 * 4)
    }

    @Test func theExtensionAreaHasAnEnd() throws {
        let type = try #require(ExtensionType(rawValue: 11))
        let fits = Message(
            type: .ping, extensions: [MessageExtension(type, value: ByteBuffer(repeating: 1, count: 250))])
        #expect(try Message(decoding: fits.encoded()) == fits)
        for count in [251, 255, 256, 70000] {
            let message = Message(
                type: .ping, extensions: [MessageExtension(type, value: ByteBuffer(repeating: 1, count: count))])
            var buffer = ByteBuffer()
            #expect(throws: WireError.self) { try message.encode(into: &buffer) }
            #expect(buffer.readableBytes == 0)
        }
    }

    @Test(arguments: [1, 5, 40, 4096])
    func aPayloadOverTheLimitIsSkippedAndTheStreamGoesOn(chunk: Int) throws {
        var stream = ByteBuffer()
        try Self.text(ByteBuffer(repeating: 0xff, count: 101), id: 77).encode(into: &stream)
        let good = Self.text(ByteBuffer(repeating: 1, count: 100))
        try good.encode(into: &stream)
        var decoder = MessageDecoder(maximumPayloadLength: 100)
        var errors: [WireError] = []
        var found: [Message] = []
        while let bytes = stream.readSlice(length: min(chunk, max(1, stream.readableBytes))) {
            decoder.append(bytes)
            while true {
                do throws(WireError) {
                    guard let message = try decoder.next() else { break }
                    found.append(message)
                } catch {
                    errors.append(error)
                }
            }
        }
        try decoder.finish()
        #expect(found == [good])
        #expect(errors.map(\.code) == [.payloadTooLarge])
        #expect(errors.first?.isSkipped == true)
        #expect(errors.first?.clientMessageID == ClientMessageID(high: 0, low: 77))
    }

    @Test func unknownExtensionsStopOnlyWhenTheyAreCritical() throws {
        let unknown = try #require(ExtensionType(rawValue: 100))
        var message = Self.text(ByteBuffer(string: "x"))
        message.extensions.set(MessageExtension(unknown, isCritical: false, value: ByteBuffer(string: "?")))
        #expect(try Message(decoding: message.encoded()).extensions[unknown] != nil)
        message.extensions.set(MessageExtension(unknown, isCritical: true, value: ByteBuffer(string: "?")))
        let bytes = try message.encoded()
        let error = #expect(throws: WireError.self) { try Message(decoding: bytes) }
        #expect(error?.code == .unknownCriticalExtension)
        #expect(error?.isSkipped == true)
        #expect(error?.clientMessageID == ClientMessageID(high: 0, low: 1))
    }

    @Test func brokenExtensionsAreSkipped() throws {
        let areas: [[UInt8]] = [
            [1, 200, 0, 0],  // longer than the area
            [5, 0, 5, 0],  // twice
            [0, 1, 0, 0],  // padding that is not zero
            [0x80, 0, 0, 0],  // critical padding
            [0, 0, 0, 0],  // padding of 4 bytes
            [5, 1, 1, 7],  // a type without a length
        ]
        for area in areas {
            var buffer = ByteBuffer()
            try MessageHeader(type: .ping, extensionLength: area.count).encode(into: &buffer)
            buffer.writeBytes(area)
            try Message(type: .pong).encode(into: &buffer)
            var decoder = MessageDecoder()
            decoder.append(buffer)
            let error = #expect(throws: WireError.self) { try decoder.next() }
            #expect(error?.code == .malformed, "\(area)")
            #expect(error?.isSkipped == true)
            #expect(try decoder.next()?.type == .pong)
        }
    }

    @Test func fieldsOfAnotherLengthAreMalformed() {
        for count in [0, 7, 9] {
            let message = Message(
                type: .inbox, sender: PartyID(ProtocolExamples.alice), receiver: PartyID(ProtocolExamples.bob),
                extensions: [MessageExtension(.epoch, value: ByteBuffer(repeating: 0, count: count))])
            #expect(throws: WireError.self) { try InboxNotice(message) }
        }
        let short = Message(
            type: .text, extensions: [MessageExtension(.clientMessageID, value: ByteBuffer(string: "x"))])
        #expect(throws: WireError.self) { try OutgoingMessage(short) }
    }

    @Test func anotherVersionEndsTheStreamAtItsFirstByte() throws {
        var decoder = MessageDecoder()
        decoder.append(ByteBuffer(bytes: [2 << 2]))
        let error = #expect(throws: WireError.self) { try decoder.next() }
        #expect(error?.code == .unsupportedVersion)
        #expect(error?.isSkipped == false)
        decoder.append(try Message(type: .ping).encoded())
        #expect(throws: WireError.self) { try decoder.next() }
        #expect(throws: WireError.self) { try decoder.finish() }
    }

    @Test func aStreamThatEndsInsideAMessageSaysSo() throws {
        let bytes = try Self.text(ByteBuffer(string: "hello")).encoded()
        for count in 1..<bytes.readableBytes {
            var decoder = MessageDecoder()
            decoder.append(try #require(bytes.getSlice(at: 0, length: count)))
            #expect(try decoder.next() == nil)
            #expect(throws: WireError.self) { try decoder.finish() }
        }
    }

    @Test func requestFramesHaveALimit() throws {
        var decoder = RequestFrameDecoder(maximumBodyLength: 8)
        let fits = RequestFrame(identifier: .max, resource: .history, body: ByteBuffer(repeating: 0xff, count: 8))
        decoder.append(try fits.encoded())
        #expect(try decoder.next() == fits)
        decoder.append(
            try RequestFrame(identifier: 9, resource: .offsets, body: ByteBuffer(repeating: 0, count: 9)).encoded())
        let error = #expect(throws: WireError.self) { try decoder.next() }
        #expect(error?.code == .payloadTooLarge)
        #expect(decoder.refused?.identifier == 9)
        decoder.append(try fits.encoded())
        #expect(throws: WireError.self) { try decoder.next() }
        var huge = RequestFrameDecoder(maximumBodyLength: 8)
        huge.append(ByteBuffer(repeating: 0xff, count: 16))
        #expect(throws: WireError.self) { try huge.next() }
    }

    @Test func bodiesMayGrowAtTheirEnd() throws {
        for (name, frame) in try ProtocolExamples.frames() where name.hasSuffix("-answer") {
            var body = frame.body
            body.writeString("something new")
            let grown = RequestFrame(identifier: 3, resource: frame.resource, body: body)
            switch frame.resource {
            case .history: #expect(try History.answer(in: grown) == ProtocolExamples.page())
            case .syncIndex: #expect(try SyncIndex.answer(in: grown).channels == [ProtocolExamples.state()])
            default: break
            }
        }
        var state = try ProtocolExamples.state()
        state.since = MessageSequence(rawValue: 1)
        var body = state.encodedBody()
        body.writeString("something new")
        #expect(
            try ReadChannelState.answer(in: RequestFrame(identifier: 3, resource: .channelState, body: body)) == state)
    }

    @Test func aResponseWithAStatusIsAFailure() throws {
        let frame = try #require(try ProtocolExamples.frames().first { $0.name == "request-failure" }?.frame)
        let failure = #expect(throws: Failure.self) { try CreateGroup.answer(in: frame) }
        #expect(failure == Failure(.storageFull, "disk full"))
        let empty = RequestFrame(identifier: 3, resource: .history, status: .internal)
        #expect(throws: WireError.self) { try History.answer(in: empty) }
    }
}
