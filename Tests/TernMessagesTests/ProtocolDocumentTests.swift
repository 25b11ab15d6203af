// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TernMessages
import Testing

/// Docs/PROTOCOL.md says what the code does, byte by byte.
@Suite struct ProtocolDocumentTests {
    /// The blocks that begin with "```hex NAME".
    static let blocks: [String: [UInt8]] = {
        let page = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Docs/PROTOCOL.md")
        guard let text = try? String(contentsOf: page, encoding: .utf8) else { return [:] }
        var blocks: [String: [UInt8]] = [:]
        for block in text.components(separatedBy: "```hex ").dropFirst() {
            let lines = block.components(separatedBy: "\n")
            let digits = lines.dropFirst().prefix { !$0.hasPrefix("```") }.joined().filter { !$0.isWhitespace }
            blocks[lines[0]] = stride(from: 0, to: digits.count, by: 2).compactMap { offset in
                let start = digits.index(digits.startIndex, offsetBy: offset)
                return UInt8(digits[start...].prefix(2), radix: 16)
            }
        }
        return blocks
    }()

    @Test func everyBlockIsKnownAndEveryExampleIsThere() throws {
        let names = try ProtocolExamples.messages().map(\.name) + ProtocolExamples.frames().map(\.name)
        #expect(Set(names).count == names.count)
        #expect(Set(names) == Set(Self.blocks.keys))
    }

    @Test func messagesHaveTheDocumentedBytes() throws {
        for (name, message) in try ProtocolExamples.messages() {
            let encoded = try message.encoded()
            #expect(hexadecimal(encoded) == hexadecimal(ByteBuffer(bytes: Self.blocks[name] ?? [])), "\(name)")
            #expect(try Message(decoding: ByteBuffer(bytes: Self.blocks[name] ?? [])) == message, "\(name)")
        }
    }

    @Test func framesHaveTheDocumentedBytes() throws {
        for (name, frame) in try ProtocolExamples.frames() {
            #expect(
                hexadecimal(try frame.encoded()) == hexadecimal(ByteBuffer(bytes: Self.blocks[name] ?? [])), "\(name)")
            var decoder = RequestFrameDecoder(maximumBodyLength: RequestFrame.maximumResponseLength)
            decoder.append(ByteBuffer(bytes: Self.blocks[name] ?? []))
            #expect(try decoder.next() == frame, "\(name)")
            #expect(try decoder.next() == nil)
            try decoder.finish()
        }
    }

    @Test(.enabled(if: ProcessInfo.processInfo.environment["TERN_PRINT_EXAMPLES"] != nil))
    func printExamples() throws {
        for (name, message) in try ProtocolExamples.messages() {
            print("EXAMPLE", name, hexadecimal(try message.encoded()))
        }
        for (name, frame) in try ProtocolExamples.frames() { print("EXAMPLE", name, hexadecimal(try frame.encoded())) }
    }
}

func hexadecimal(_ buffer: ByteBuffer) -> String {
    buffer.readableBytesView.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}
