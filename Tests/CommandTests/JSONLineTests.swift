// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import Testing

@testable import tern_command

/// Scripts read these lines: every payload and every name must survive.
@Suite
struct JSONLineTests {
    @Test("A line is one JSON object, with its fields in order")
    func fieldsKeepTheirOrder() {
        var line = JSONLine(event: "ack")
        line.add("sequence", UInt64(1) << 53)
        line.add("duplicate", false)
        line.add(milliseconds: "took", .nanoseconds(12_034_567))
        line.add("missing", String?.none)
        #expect(
            line.line == #"{"event":"ack","sequence":9007199254740992,"duplicate":false,"took":12.034}"# + "\n")
    }

    @Test(
        "Text comes back as it was, on one line",
        arguments: [
            "", "plain", "\"\\/", "tab\tcr\r", "\u{0}\u{1F}\u{7F}\u{85}", "\u{2028}\u{2029}", "naïve 🐦 e\u{301}",
        ])
    func textSurvives(text: String) throws {
        var line = JSONLine(event: "message")
        line.add(payload: ByteBuffer(string: text))
        let body = line.line.dropLast()
        #expect(!body.unicodeScalars.contains { $0.properties.generalCategory == .control })
        let object = try JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: String]
        #expect(object?["text"].map { Array($0.utf8) } == Array(text.utf8))
        #expect(object?["base64"] == nil)
    }

    @Test("What is not UTF-8 comes as base64", arguments: 1...7)
    func bytesSurvive(count: Int) throws {
        let bytes = [UInt8](repeating: 0xff, count: count)
        var line = JSONLine(event: "message")
        line.add(payload: ByteBuffer(bytes: bytes))
        let object = try JSONSerialization.jsonObject(with: Data(line.line.utf8)) as? [String: String]
        #expect(object?["base64"] == Data(bytes).base64EncodedString())
        #expect(object?["text"] == nil)
    }

    @Test(
        "Milliseconds have three decimals",
        arguments: [(0, "0.000"), (999, "0.000"), (1_000, "0.001"), (20_300_000, "20.300"), (-1_500_000, "-1.500")])
    func milliseconds(nanoseconds: Int64, text: String) {
        #expect(TimeAmount.nanoseconds(nanoseconds).millisecondsText == text)
    }

    @Test("What a peer says cannot forge a line of the output")
    func controlCharactersBecomeBlanks() {
        #expect(Output.singleLine("a\nb\u{1B}[2Jc\u{9B}d") == "a b\u{FFFD}[2Jc\u{FFFD}d")
    }

    @Test("A payload keeps its bytes, unless a terminal shows them")
    func payloadsOnTerminals() {
        let bytes = Array("\u{1B}[A\u{202E}x\n".utf8) + [0xFF, 0x00]
        let payload = ByteBuffer(bytes: bytes)
        #expect(Output.line(of: payload, forTerminal: false) == bytes + [0x0A])
        let shown = String(decoding: Output.line(of: payload, forTerminal: true), as: UTF8.self)
        #expect(shown == "\u{FFFD}[A\u{FFFD}x \u{FFFD}\u{FFFD}\n")
    }
}
