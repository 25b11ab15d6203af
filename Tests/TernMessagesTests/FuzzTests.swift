// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages
import Testing

/// Bytes from the network never crash, whatever they are; and what a decoder accepts, the encoder gives back.
@Suite struct FuzzTests {
    struct SplitMix: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            self.state &+= 0x9e37_79b9_7f4a_7c15
            var z = self.state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }

    private func randomBytes(_ count: Int, _ random: inout SplitMix) -> ByteBuffer {
        ByteBuffer(bytes: (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
    }

    /// A valid message with some bytes changed: gets deeper than noise.
    private func mutated(_ bytes: ByteBuffer, _ random: inout SplitMix) -> ByteBuffer {
        var bytes = bytes
        for _ in 0..<Int.random(in: 0...4, using: &random) where bytes.readableBytes > 0 {
            let index = Int.random(in: bytes.readerIndex..<bytes.writerIndex, using: &random)
            bytes.setInteger(UInt8.random(in: 0...255, using: &random), at: index)
        }
        let length = bytes.readableBytes
        if Int.random(in: 0..<8, using: &random) == 0 {
            return bytes.getSlice(at: bytes.readerIndex, length: Int.random(in: 0...length, using: &random)) ?? bytes
        }
        return bytes
    }

    /// Decodes until nothing more comes, and reads each message in every typed form.
    private func exhaust(_ decoder: inout MessageDecoder) {
        while true {
            do throws(WireError) {
                guard let message = try decoder.next() else { return }
                self.readEveryForm(message)
            } catch {
                if !error.isSkipped { return }
            }
        }
    }

    private func readEveryForm(_ message: Message) {
        let encoded = try? message.encoded()
        #expect(encoded.flatMap { try? Message(decoding: $0) } == message)
        if let outgoing = try? OutgoingMessage(message) { #expect(outgoing.payload == message.payload) }
        if let push = try? ChannelMessage(message) { #expect((try? ChannelMessage(push.message)) == push) }
        if let ack = try? Acknowledgement(message) { #expect((try? Acknowledgement(ack.message)) == ack) }
        if let receipt = try? Receipt(message) { #expect((try? Receipt(receipt.message)) == receipt) }
        if let failure = try? Failure(message) { #expect((try? Failure(failure.message)) == failure) }
        if let notice = try? InboxNotice(message) { #expect((try? InboxNotice(notice.message)) == notice) }
        if let notice = try? LiveNotice(message) { #expect((try? LiveNotice(notice.message)) == notice) }
        if let answer = try? AuthenticationAnswer(message) {
            #expect((try? AuthenticationAnswer(answer.message)) == answer)
        }
        _ = try? AuthenticationRequest(message)
        _ = try? GoOffline(message)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func messageDecoder(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        let examples = try ProtocolExamples.messages().map { try $0.message.encoded() }
        for _ in 0..<3000 {
            var decoder = MessageDecoder(maximumPayloadLength: Int.random(in: 0...64, using: &random))
            for _ in 0..<3 {
                let bytes =
                    Bool.random(using: &random)
                    ? self.mutated(examples.randomElement(using: &random) ?? ByteBuffer(), &random)
                    : self.randomBytes(Int.random(in: 0...200, using: &random), &random)
                decoder.append(bytes)
                self.exhaust(&decoder)
            }
            _ = try? decoder.finish()
        }
    }

    @Test(arguments: [4, 5] as [UInt64])
    func requestDecoders(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        let examples = try ProtocolExamples.frames().map { try $0.frame.encoded() }
        for _ in 0..<5000 {
            var decoder = RequestFrameDecoder(maximumBodyLength: 4096)
            decoder.append(self.mutated(examples.randomElement(using: &random) ?? ByteBuffer(), &random))
            while let frame = (try? decoder.next()) ?? nil { self.readEveryBody(frame) }
            let noise = self.randomBytes(Int.random(in: 0...100, using: &random), &random)
            self.readEveryBody(RequestFrame(identifier: 1, resource: .history, body: noise))
        }
    }

    private func readEveryBody(_ frame: RequestFrame) {
        self.read(ResolveUser.self, frame)
        self.read(UserNames.self, frame)
        self.read(CreateGroup.self, frame)
        self.read(FindGroup.self, frame)
        self.read(JoinGroup.self, frame)
        self.read(InviteMember.self, frame)
        self.read(LeaveGroup.self, frame)
        self.read(ListMembers.self, frame)
        self.read(SyncIndex.self, frame)
        self.read(ReadChannelState.self, frame)
        self.read(History.self, frame)
        self.read(Offsets.self, frame)
        self.readBody(RequestFailure.self, frame)
    }

    private func read<Request: RequestBody>(_ type: Request.Type, _ frame: RequestFrame) {
        self.readBody(type, frame)
        self.readBody(Request.Answer.self, frame)
        _ = try? Request.answer(in: frame)
    }

    private func readBody<Body: WireBody>(_ type: Body.Type, _ frame: RequestFrame) {
        var bytes = frame.body
        guard let body = try? Body(decoding: &bytes) else { return }
        var again = body.encodedBody()
        #expect((try? Body(decoding: &again)) == body)
    }
}
