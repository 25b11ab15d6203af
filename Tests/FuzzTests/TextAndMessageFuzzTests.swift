// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Tern
import TernMessages
import Testing

@Suite("Fuzzing: text and messages")
struct TextAndMessageFuzzTests {
    @Test("Endpoints: what is read is written so that it reads the same")
    func endpoints() throws {
        let corpus = try Corpus.load("endpoints")
        var taken = 0
        Effort.spend(10_000) { mutator, seed in
            let text = String(decoding: mutator.mutate(mutator.pick(corpus), with: corpus), as: UTF8.self)
            guard let endpoint = Endpoint(text) else { return }
            taken += 1
            if Endpoint("\(endpoint)") != endpoint { Issue.record("TERN_FUZZ_SEED=\(seed): \(text)") }
            if !(0...65_535).contains(endpoint.port) { Issue.record("TERN_FUZZ_SEED=\(seed): \(text)") }
        }
        #expect(taken > 500)
    }

    @Test("Messages: what is decoded is encoded to a message that decodes the same")
    func messages() throws {
        let corpus = try Corpus.load("messages")
        var taken = 0
        Effort.spend(5000) { mutator, seed in
            var decoder = MessageDecoder(maximumPayloadLength: 1024)
            decoder.append(ByteBuffer(bytes: mutator.mutate(mutator.pick(corpus), with: corpus)))
            decoder.append(ByteBuffer(bytes: mutator.mutate(mutator.pick(corpus), with: corpus)))
            var isOver = false
            while !isOver {
                do throws(WireError) {
                    guard let message = try decoder.next() else { break }
                    taken += 1
                    guard let encoded = try? message.encoded(), (try? Message(decoding: encoded)) == message else {
                        Issue.record("TERN_FUZZ_SEED=\(seed): \(message)")
                        continue
                    }
                } catch {
                    isOver = !error.isSkipped
                }
            }
            _ = try? decoder.finish()
        }
        #expect(taken > 500)
    }

    @Test("Requests and answers")
    func requests() throws {
        let corpus = try Corpus.load("requests")
        var taken = 0
        Effort.spend(5000) { mutator, seed in
            var decoder = RequestFrameDecoder(maximumBodyLength: 4096)
            decoder.append(ByteBuffer(bytes: mutator.mutate(mutator.pick(corpus), with: corpus)))
            while let frame = (try? decoder.next()) ?? nil {
                taken += 1
                if (try? frame.encoded()) == nil { Issue.record("TERN_FUZZ_SEED=\(seed): \(frame)") }
                self.read(History.self, frame, seed)
                self.read(CreateGroup.self, frame, seed)
                self.read(SyncIndex.self, frame, seed)
                self.read(Offsets.self, frame, seed)
                self.read(ResolveUser.self, frame, seed)
            }
        }
        #expect(taken > 500)
    }

    private func read<Body: RequestBody>(_ type: Body.Type, _ frame: RequestFrame, _ seed: UInt64) {
        var bytes = frame.body
        if let body = try? Body(decoding: &bytes) {
            var again = body.encodedBody()
            if (try? Body(decoding: &again)) != body { Issue.record("TERN_FUZZ_SEED=\(seed): \(body)") }
        }
        _ = try? Body.answer(in: frame)
    }
}
