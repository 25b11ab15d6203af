// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import Testing

@Suite struct HeaderTests {
    @Test func fieldsOutOfRangeDoNotComeAbout() {
        #expect(UserID(rawValue: 0) == nil)
        #expect(UserID(rawValue: 1 << 36 - 1) != nil)
        #expect(UserID(rawValue: 1 << 36) == nil)
        #expect(GroupID(rawValue: 1 << 36 - 1) == nil)
        #expect(GroupID(rawValue: 1 << 46 - 1) != nil)
        #expect(GroupID(rawValue: 1 << 46) == nil)
        #expect(PartyID(rawValue: 1 << 46) == nil)
        #expect(NodeID(rawValue: 1 << 18) == nil)
        #expect(MessageType(rawValue: 1 << 12) == nil)
        #expect(MessageSequence(rawValue: 1 << 44) == nil)
        #expect(MessageTimestamp(rawValue: 1 << 46) == nil)
        #expect(ProtocolVersion(rawValue: 64) == nil)
        #expect(DeviceID(rawValue: 0) == nil)
        #expect(MessageFlags(rawValue: 0xffff).rawValue == 0xfff)
        let last = MessageSequence(rawValue: MessageSequence.maximumRawValue)
        #expect(last?.next == last)
    }

    /// Each field alone at its largest value: no bit leaks into a neighbour.
    @Test func everyFieldKeepsItsBits() throws {
        var headers: [MessageHeader] = []
        let empty = MessageHeader(type: try #require(MessageType(rawValue: 0)))
        func change(_ edit: (inout MessageHeader) throws -> Void) rethrows {
            var header = empty
            try edit(&header)
            headers.append(header)
        }
        try change { $0.version = try #require(ProtocolVersion(rawValue: 63)) }
        change { $0.flags = MessageFlags(rawValue: 0xfff) }
        try change { $0.sender = try #require(PartyID(rawValue: PartyID.maximumRawValue)) }
        try change { $0.node = try #require(NodeID(rawValue: NodeID.maximumRawValue)) }
        try change { $0.receiver = try #require(PartyID(rawValue: PartyID.maximumRawValue)) }
        try change { $0.type = try #require(MessageType(rawValue: 0xfff)) }
        change { $0.extensionLength = 252 }
        try change { $0.timestamp = try #require(MessageTimestamp(rawValue: MessageTimestamp.maximumRawValue)) }
        change { $0.payloadLength = 1 << 20 - 1 }
        try change { $0.sequence = try #require(MessageSequence(rawValue: MessageSequence.maximumRawValue)) }
        var all = empty
        all.flags = MessageFlags(rawValue: 0xfff)
        all.payloadLength = 1 << 20 - 1
        all.extensionLength = 252
        headers.append(all)
        for header in headers {
            var buffer = ByteBuffer()
            try header.encode(into: &buffer)
            #expect(buffer.readableBytes == 32)
            #expect(MessageHeader(decoding: &buffer) == header)
        }
    }

    @Test func lengthsThatCannotBeSaidAreErrors() throws {
        var header = MessageHeader(type: .text)
        for length in [-4, 1, 253, 256] {
            header.extensionLength = length
            var buffer = ByteBuffer()
            #expect(throws: WireError.self) { try header.encode(into: &buffer) }
            #expect(buffer.readableBytes == 0)
        }
        header.extensionLength = 0
        header.payloadLength = 1 << 20
        var buffer = ByteBuffer()
        #expect(throws: WireError.self) { try header.encode(into: &buffer) }
    }

    @Test func fewerThan32BytesAreNoHeader() {
        for count in 0..<32 {
            var buffer = ByteBuffer(repeating: 4, count: count)
            #expect(MessageHeader(decoding: &buffer) == nil)
            #expect(buffer.readableBytes == count)
        }
    }

    @Test func channelsFollowFromTheEnds() throws {
        let one = try #require(UserID(rawValue: 5))
        let other = try #require(UserID(rawValue: 3))
        let group = try #require(GroupID(rawValue: 1 << 36 + 9))
        #expect(ChannelID(sender: PartyID(one), receiver: PartyID(other)) == ChannelID(direct: other, one))
        #expect(ChannelID(sender: PartyID(one), receiver: PartyID(one))?.users?.0 == one)
        #expect(ChannelID(sender: .server, receiver: PartyID(group)) == ChannelID(group: group))
        #expect(ChannelID(sender: .server, receiver: PartyID(other)) == nil)
        #expect(ChannelID(sender: PartyID(group), receiver: PartyID(other)) == nil)
        #expect(ChannelID(first: 5, second: 3) == nil)
        #expect(ChannelID(first: 3, second: 1 << 36) == nil)
        #expect(ChannelID(first: 1 << 36, second: 1 << 36 + 1) == nil)
        #expect(ChannelID(first: 0, second: 0) == nil)
        #expect(ChannelID(first: 1 << 46, second: 1 << 46) == nil)
        #expect(ChannelID(direct: one, other).peer(of: one) == other)
        #expect(ChannelID(direct: one, other).peer(of: try #require(UserID(rawValue: 9))) == nil)
    }

    @Test func namesAreLimitedAndComparedByteByByte() throws {
        #expect(try Name("a").text == "a")
        #expect(try Name(String(repeating: "é", count: 32)).text.utf8.count == 64)
        for bad in ["", String(repeating: "é", count: 32) + "a", "a\nb", "\u{7f}", "\u{85}", "\u{0}"] {
            #expect(throws: WireError.self) { try Name(bad) }
        }
        #expect(try Name("\u{e9}") != Name("e\u{301}"))
        var cut = ByteBuffer(bytes: [3, 0x61, 0x62])
        #expect(throws: WireError.self) { try Name(decoding: &cut) }
        var broken = ByteBuffer(bytes: [1, 0xff])
        #expect(throws: WireError.self) { try Name(decoding: &broken) }
    }

    @Test func streamKindsAreVariableLengthIntegers() {
        for value: UInt64 in [0, 3, 63, 64, 16383, 16384, 1 << 30 - 1, 1 << 30, 1 << 62 - 1] {
            var buffer = ByteBuffer()
            StreamKind(rawValue: value).encode(into: &buffer)
            var cut = buffer.getSlice(at: 0, length: buffer.readableBytes - 1)!
            #expect(StreamKind(decoding: &cut) == nil)
            #expect(StreamKind(decoding: &buffer)?.rawValue == value)
            #expect(buffer.readableBytes == 0)
        }
    }

    @Test func clientMessageIdentifiersHaveATextForm() throws {
        let id = ClientMessageID(high: 0xf, low: 1)
        #expect(id.description == "000000000000000f0000000000000001")
        #expect(ClientMessageID(hexadecimal: id.description) == id)
        #expect(ClientMessageID(hexadecimal: "+00000000000000f0000000000000001") == nil)
        #expect(ClientMessageID(hexadecimal: "0f") == nil)
    }
}
