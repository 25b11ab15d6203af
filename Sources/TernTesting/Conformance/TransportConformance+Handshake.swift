// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// What comes with the handshake: streams that are opened with the connection, and what the keys are good for.
extension TransportConformance {
    static let handshakeBehaviours: [ConformanceBehaviour] = [
        ConformanceBehaviour(
            "streams are opened with the connection, and are no replays without a ticket", Self.replayable),
        ConformanceBehaviour("a stream that was opened with the connection goes on", Self.replayableGoesOn),
        ConformanceBehaviour("streams that the peer has no room for follow when it has", Self.replayableWaits),
        ConformanceBehaviour("the handshake is complete, and then it is said", Self.handshakeCompletes),
        ConformanceBehaviour("both ends export the same secret, or neither does", Self.exportedSecrets),
        ConformanceBehaviour("keys are updated in the middle of a transfer", Self.keyUpdate),
    ]

    private static func replayable(_ harness: any ConformanceHarness) async throws {
        let streams = [
            ReplayableStream(testBytes(100)), ReplayableStream(testBytes(20_000, seed: 3), direction: .unidirectional),
            ReplayableStream(ByteBuffer()), ReplayableStream(testBytes(7, seed: 5)),
        ]
        try await harness.withEnds(replayable: streams) { client, server in
            let ids = try await client.perform { $0.connection.replayableStreams }
            let expected = [0, 2, 4, 8].map { StreamID(rawValue: $0) }
            try require(ids == expected, "the streams are \(ids)")
            for (id, sent) in zip(ids, streams) {
                let received = try await server.whole(id)
                try require(received == sent.bytes, "the bytes of \(id) differ")
                if id.direction == .bidirectional { try await server.send(testBytes(50), on: id) }
            }
            for id in ids {
                if id.direction == .bidirectional {
                    let answer = try await client.whole(id)
                    try require(answer == testBytes(50), "the answer on \(id) differs")
                }
                try await client.until("\(id) close") { $0.closed.contains(id) }
            }
            for end in [client, server] {
                let (outcome, replays) = try await end.perform { end in
                    (end.connection.earlyData, ids.filter { end.connection.isReplayable($0) })
                }
                try require(outcome == .notOffered, "0-RTT without a ticket is \(outcome)")
                try require(replays.isEmpty, "\(replays) were called replayable, after the handshake")
            }
            let another = try await client.openStream()
            try require(another.index == 3, "the next stream is \(another)")
        }
    }

    private static func replayableGoesOn(_ harness: any ConformanceHarness) async throws {
        let stream = ReplayableStream(testBytes(10), finishes: false)
        try await harness.withEnds(replayable: [stream]) { client, server in
            guard let id = try await client.perform({ $0.connection.replayableStreams.first }) else {
                throw ConformanceFailure("the stream is not named")
            }
            // The bytes may have come before the server can be told to echo.
            try await server.until("10 bytes") { $0.count(id) == 10 }
            try await server.send(testBytes(10), on: id, finish: false)
            try await client.until("10 bytes back") { $0.count(id) == 10 }
            try await server.echo()
            try await client.send(testBytes(300_000), on: id)
            let answer = try await client.whole(id)
            try require(answer.readableBytes == 300_010, "\(answer.readableBytes) bytes came back")
        }
    }

    private static func replayableWaits(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.bidirectionalStreams = 1
        let streams = (0..<3).map { ReplayableStream(testBytes(100, seed: $0)) }
        try await harness.withEnds(server: limits, replayable: streams) { client, server in
            for (index, stream) in streams.enumerated() {
                let id = StreamID(index: UInt64(index), initiator: .client, direction: .bidirectional)
                let received = try await server.whole(id)
                try require(received == stream.bytes, "the bytes of \(id) differ")
                try await server.send(testBytes(5), on: id)
                try await client.until("\(id) close") { $0.closed.contains(id) }
            }
            let ids = try await client.perform { $0.connection.replayableStreams }
            try require(ids.map(\.index) == [0, 1, 2], "the streams are \(ids)")
        }
    }

    private static func handshakeCompletes(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            let isComplete = try await client.perform { $0.connection.isHandshakeComplete }
            try require(isComplete, "a client's connection came before its handshake was complete")
            let wasComplete = try await server.perform { $0.connection.isHandshakeComplete }
            if !wasComplete {
                try await server.until("the confirmation of the handshake") { $0.events.contains(.handshakeConfirmed) }
                let isComplete = try await server.perform { $0.connection.isHandshakeComplete }
                try require(isComplete, "the event came before the handshake was complete")
            }
        }
    }

    private static func exportedSecrets(_ harness: any ConformanceHarness) async throws {
        try await harness.withEnds { client, server in
            guard try await client.hasKeys, try await server.hasKeys else {
                for end in [client, server] {
                    try await end.perform { end in
                        try expectError(.misuse, "a secret without TLS") {
                            try end.connection.exportKeyingMaterial(label: "EXPORTER-test", context: [], count: 32)
                        }
                    }
                }
                return
            }
            let kinds: [(label: String, context: [UInt8], count: Int)] = [
                ("EXPORTER-tern-a", [], 32), ("EXPORTER-tern-b", [], 32), ("EXPORTER-tern-a", [1, 2], 32),
                ("EXPORTER-tern-a", [], 1), ("EXPORTER-tern-a", [], 300),
            ]
            var secrets: [[UInt8]] = []
            for kind in kinds {
                let mine = try await client.secret(kind.label, kind.context, kind.count)
                let theirs = try await server.secret(kind.label, kind.context, kind.count)
                try require(mine == theirs, "the ends derived different secrets for \(kind)")
                try require(mine.count == kind.count, "\(mine.count) bytes instead of \(kind.count)")
                secrets.append(mine)
            }
            try require(Set(secrets).count == secrets.count, "two secrets are the same")
            for count in [0, -1, 8161] {
                try await client.perform { end in
                    try expectError(.misuse, "a secret of \(count) bytes") {
                        try end.connection.exportKeyingMaterial(label: "EXPORTER-tern-a", context: [], count: count)
                    }
                }
            }
        }
    }

    private static func keyUpdate(_ harness: any ConformanceHarness) async throws {
        var limits = ConnectionLimits()
        limits.streamWindow = 64 << 10
        try await harness.withEnds(client: limits, server: limits) { client, server in
            guard try await client.hasKeys else {
                return try await client.perform { end in
                    try expectError(.misuse, "a key update without TLS") { try end.connection.updateKeys() }
                }
            }
            try await server.echo()
            let stream = try await client.openStream()
            for (round, end) in [client, server, client].enumerated() {
                try await client.send(testBytes(400_000), on: stream, finish: false)
                try await end.updateKeysWhenAllowed()
                try await client.until("echo \(round)") { $0.count(stream) == (round + 1) * 400_000 }
            }
            try await client.send(ByteBuffer(), on: stream)
            let answer = try await client.whole(stream)
            var expected = ByteBuffer()
            for _ in 0..<3 { expected.writeImmutableBuffer(testBytes(400_000)) }
            try require(answer == expected, "the bytes differ after three key updates")
        }
    }
}

extension ConformanceEnd {
    /// Whether the carrier has TLS: whether it exports a secret.
    fileprivate var hasKeys: Bool {
        get async throws {
            try await self.perform { end in
                do throws(TransportError) {
                    _ = try end.connection.exportKeyingMaterial(label: "EXPORTER-tern", context: [], count: 16)
                    return true
                } catch {
                    try require(error.code == .misuse, "a secret was refused with \(error)")
                    return false
                }
            }
        }
    }

    fileprivate func secret(_ label: String, _ context: [UInt8], _ count: Int) async throws -> [UInt8] {
        try await self.perform {
            try $0.connection.exportKeyingMaterial(label: label, context: context, count: count)
        }
    }

    /// An update is refused until the handshake is confirmed and the update before is done.
    fileprivate func updateKeysWhenAllowed() async throws {
        let deadline = NIODeadline.now() + TransportConformance.patience
        while true {
            let refusal = try await self.perform { end -> TransportError? in
                do throws(TransportError) {
                    try end.connection.updateKeys()
                    return nil
                } catch {
                    return error
                }
            }
            guard let refusal else { return }
            try require(refusal.code == .misuse, "a key update was refused with \(refusal)")
            try require(NIODeadline.now() < deadline, "no key update was ever allowed: \(refusal)")
            try await self.connection.eventLoop.scheduleTask(in: .milliseconds(1)) {}.futureResult.get()
        }
    }
}
