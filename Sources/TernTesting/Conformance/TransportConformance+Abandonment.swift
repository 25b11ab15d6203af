// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Streams that are given up, and calls that come at the wrong time.
extension TransportConformance {
    static let abandonmentBehaviours: [ConformanceBehaviour] = [
        ConformanceBehaviour("a reset carries its code, and the other half lives on", Self.reset),
        ConformanceBehaviour("a stop carries its code, and ends the writing", Self.stop),
        ConformanceBehaviour("a stop returns the credit of what nobody will read", Self.stopReturnsCredit),
        ConformanceBehaviour("nothing can be written after the end of a stream", Self.writeAfterTheEnd),
        ConformanceBehaviour("writing to a stream that was never opened is misuse", Self.misuse),
        ConformanceBehaviour("calls that come too late do nothing", Self.lateCalls),
        ConformanceBehaviour("each half of a stream ends in its own way", Self.ends),
    ]

    /// How a sending side comes to its end.
    private enum Ending: CaseIterable {
        case finished, reset, stopped
    }

    /// Every combination of how the opener's half and the acceptor's half end.
    private static func ends(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            for forward in Ending.allCases {
                for backward in Ending.allCases {
                    let stream = try await client.openStream()
                    try await client.send(testBytes(10), on: stream, finish: false)
                    try await server.until("10 bytes") { $0.count(stream) == 10 }
                    try await server.send(testBytes(20), on: stream, finish: false)
                    try await client.until("20 bytes") { $0.count(stream) == 20 }
                    try await self.end(stream, from: client, to: server, forward)
                    try await self.end(stream, from: server, to: client, backward)
                    for end in [client, server] {
                        try await end.until("\(stream) close, \(forward) and \(backward)") {
                            $0.closed.contains(stream)
                        }
                    }
                }
            }
        }
    }

    private static func end(
        _ stream: StreamID, from sender: ConformanceEnd, to receiver: ConformanceEnd, _ ending: Ending
    ) async throws {
        let code = 100 + stream.rawValue
        switch ending {
        case .finished:
            try await sender.send(testBytes(5), on: stream)
            _ = try await receiver.whole(stream)
        case .reset:
            try await sender.perform { $0.connection.reset(stream, code: code) }
            let heard = try await receiver.until("the reset of \(stream)") { $0.resets[stream] }
            try require(heard == code, "the reset came with code \(heard)")
        case .stopped:
            try await receiver.perform { $0.connection.stopSending(stream, code: code) }
            let heard = try await sender.until("the stop of \(stream)") { $0.stops[stream] }
            try require(heard == code, "the stop came with code \(heard)")
        }
    }

    private static func reset(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let stream = try await client.openStream()
            try await client.send(testBytes(10), on: stream, finish: false)
            try await server.until("10 bytes") { $0.count(stream) == 10 }
            try await client.perform { end in
                end.connection.reset(stream, code: 0x1234_5678)
                end.connection.reset(stream, code: 9)
            }
            let code = try await server.until("the reset") { $0.resets[stream] }
            try require(code == 0x1234_5678, "the reset came with code \(code)")
            try await server.send(testBytes(10), on: stream)
            let answer = try await client.whole(stream)
            try require(answer == testBytes(10), "the other half differs")
            for end in [client, server] {
                try await end.until("\(stream) close") { $0.closed.contains(stream) }
            }
        }
    }

    private static func stop(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let stream = try await client.openStream()
            try await client.send(testBytes(10), on: stream, finish: false)
            try await server.until("10 bytes") { $0.count(stream) == 10 }
            try await server.perform { $0.connection.stopSending(stream, code: 77) }
            let code = try await client.until("the stop") { $0.stops[stream] }
            try require(code == 77, "the stop came with code \(code)")
            try await client.perform { end in
                try expectError(.streamStopped, wireCode: 77, "a write after a stop") {
                    try end.connection.write(testBytes(1), to: stream, finish: false)
                }
            }
            try await server.send(testBytes(3), on: stream)
            _ = try await client.whole(stream)
            for end in [client, server] {
                try await end.until("\(stream) close") { $0.closed.contains(stream) }
            }
        }
    }

    private static func stopReturnsCredit(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.connectionWindow = 64 << 10
        limits.streamWindow = 64 << 10
        try await harness.withEnds(server: limits) { client, server in
            try await server.perform { $0.consumesAtOnce = false }
            for _ in 0..<4 {
                let stream = try await client.openStream(.unidirectional)
                _ = try await client.perform { try $0.connection.write(testBytes(80 << 10), to: stream, finish: true) }
                try await server.until("a full window") { $0.count(stream) == 64 << 10 }
                try await server.perform { $0.connection.stopSending(stream, code: 1) }
                for end in [client, server] {
                    try await end.until("\(stream) close") { $0.closed.contains(stream) }
                }
            }
        }
    }

    private static func writeAfterTheEnd(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let finished = try await client.openStream()
            let abandoned = try await client.openStream()
            let closed = try await client.openStream(.unidirectional)
            try await client.send(testBytes(10), on: closed)
            try await client.until("\(closed) close") { $0.closed.contains(closed) }
            try await client.perform { end in
                _ = try end.connection.write(testBytes(10), to: finished, finish: true)
                end.connection.reset(abandoned, code: 0)
                for stream in [finished, abandoned, closed] {
                    try expectError(.streamFinished, "a write after the end of \(stream)") {
                        try end.connection.write(testBytes(1), to: stream, finish: false)
                    }
                    try expectError(.streamFinished, "a second end of \(stream)") {
                        try end.connection.write(ByteBuffer(), to: stream, finish: true)
                    }
                }
            }
            _ = try await server.whole(finished)
        }
    }

    private static func misuse(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, _ in
            try await client.perform { end in
                for number in [0, 1, 2, 3, 400] as [UInt64] {
                    try expectError(.misuse, "a write to stream \(number), which was never opened") {
                        try end.connection.write(testBytes(1), to: StreamID(rawValue: number), finish: false)
                    }
                }
            }
        }
    }

    private static func lateCalls(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            try await server.echo()
            let stream = try await client.openStream()
            try await client.send(testBytes(100), on: stream)
            try await client.until("\(stream) close") { $0.closed.contains(stream) }
            try await server.until("\(stream) close") { $0.closed.contains(stream) }
            for end in [client, server] {
                try await end.perform { end in
                    for late in [stream, StreamID(rawValue: 400), StreamID(rawValue: 403)] {
                        end.connection.reset(late, code: 1)
                        end.connection.stopSending(late, code: 1)
                        end.connection.setPriority(.highest, of: late)
                        end.connection.consumed(1000, of: late)
                    }
                }
            }
            // It still works, and too much credit was not believed.
            let next = try await client.openStream()
            try await client.perform { $0.connection.consumed(1 << 40, of: next) }
            try await client.send(testBytes(100), on: next)
            let answer = try await client.whole(next)
            try require(answer == testBytes(100), "the echo differs")
        }
    }
}
