// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import TernMessages
import Testing

@testable import TernServer

/// The numbers in the sentences of Docs/PROTOCOL.md are those of the code.
@Suite struct ProtocolNumbersTests {
    @Test func theServersNumbers() throws {
        let page = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Docs/PROTOCOL.md")
        // Wherever lines break.
        let text = try String(contentsOf: page, encoding: .utf8).split(separator: "\n").joined(separator: " ")
        let server = ServerConfiguration(name: try Name("tern"))
        func seconds(_ duration: Duration) -> Int64 { duration.components.seconds }
        for sentence in [
            "for a limited time (\(seconds(server.authenticationTimeout)) s by default)",
            "as its payload, at most \(AccessToken.maximumBytes) bytes",
            "a number of connections (\(server.maximumConnectionsPerUser) by default)",
            "if that is \(seconds(server.silenceBeforeGivingWay)) s or more (by default)",
            "(\(AccessToken.clockSkew) s of clock difference are forgiven, for `exp` too)",
            "(`exp` and the \(AccessToken.clockSkew) s)",
            "optional, default `\(AccessToken.defaultDevice)`",
            "with the same sequence and payload, at most \(ControlStream.maximumPing) bytes",
            "count `u16` (≤ \(UserNames.maximumCount))",
            "at most \(MessageHeader.maximumExtensionLength) bytes",
            "A **name** is a `u8` length of 1 to \(Name.maximumBytes)",
        ] { #expect(text.contains(sentence), "\(sentence)") }
        #expect(seconds(TokenEnd.checkInterval) <= 60)
        // "A server uses no more than that at a time."
        #expect(server.maximumPushStreams <= 64 && text.contains("at least 64 unidirectional streams"))
        #expect(RequestFrame.maximumRequestLength == 1 << 16 && text.contains("never more than 2^16 | at most 2^21"))
        #expect(RequestFrame.maximumResponseLength == 1 << 21)
        #expect(MessageHeader.maximumPayloadLength == 1 << 20 - 1)
    }
}
