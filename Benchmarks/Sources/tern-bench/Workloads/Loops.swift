// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import NIOCore
internal import Tern

extension Workload {
    static let loops = Workload(
        name: "loops",
        summary: {
            """
            \(LoopsClient.connections) QUIC connections echo 64 bytes each, one message at a time, for \
            \($0.loopsSeconds) s; the server on one event loop or two, the client on two
            """
        },
        contenders: { profile in
            [1, 2].map { loops in
                Contender(name: "loops-\(loops)", expectedSeconds: profile.loopsSeconds + 1.5) {
                    try $0.echo(for: profile.loopsSeconds, onLoops: loops)
                }
            }
        },
        columns: [
            Column(title: "messages/s", key: "messagesPerSecond", decimals: 0),
            Column(title: "messages per server CPU s", key: "messagesPerServerCPUSecond", decimals: 0),
            Column(title: "server cores", key: "serverCores", decimals: 2),
            Column(title: "client cores", key: "clientCores", decimals: 2),
        ],
        ratios: [
            Ratio(
                key: "messagesPerSecond", of: "loops-2", to: "loops-1",
                goal: "two loops against one, many connections (needs two cores besides the client's)",
                bound: .atLeast(1.6)),
            Ratio(key: "messagesPerServerCPUSecond", of: "loops-2", to: "loops-1"),
        ])
}

extension Stage {
    fileprivate func echo(for seconds: Double, onLoops loops: Int) throws -> [String: Double] {
        let server = try self.start(
            .loopEchoServer(LoopEchoServer(carrier: .quic, loops: loops)), name: "loops-server")
        let address: ServerAddress = try self.answer(of: server)
        let client = try self.start(
            .loopsClient(LoopsClient(server: address, seconds: seconds)), name: "loops-client")
        let _: Int = try self.answer(of: client)
        let (before, clientBefore) = (server.cpuSeconds, client.cpuSeconds)
        let messages: Int = try self.answer(of: client)
        let (used, clientUsed) = (server.cpuSeconds - before, client.cpuSeconds - clientBefore)
        _ = try client.finish(within: .seconds(20), whileWaiting: self.tick)
        _ = try server.stop(.closingInput)
        return [
            "messagesPerSecond": Double(messages) / seconds, "messagesPerServerCPUSecond": Double(messages) / used,
            "serverCores": used / seconds, "clientCores": clientUsed / seconds,
        ]
    }
}

/// Keeps many connections busy, each with one message.
struct LoopsClient: Codable {
    var server: ServerAddress
    var seconds: Double

    static let connections = 64

    func play() async throws {
        let dialer = try LoopDialer(
            to: self.server, over: .quic, LoopEchoServer.applicationProtocol, loops: 2)
        var ends: [Repeater] = []
        for _ in 0..<Self.connections {
            let connection = try await dialer.connect()
            let end = Repeater(connection)
            try await connection.eventLoop.submit { try end.begin() }.get()
            ends.append(end)
        }
        try await Task.sleep(for: .milliseconds(200))
        try tell(ends.count)
        let before = try await Self.total(ends)
        try await Task.sleep(for: .seconds(self.seconds))
        let after = try await Self.total(ends)
        try tell(after - before)
    }

    private static func total(_ ends: [Repeater]) async throws -> Int {
        var total = 0
        for end in ends { total += try await end.connection.eventLoop.submit { end.messages }.get() }
        return total
    }
}

/// Sends a message whenever the one before has returned. Confined to its connection's event loop, but for the reference:
/// hence `@unchecked Sendable`.
private final class Repeater: QuietHandler, @unchecked Sendable {
    let connection: any LoopConnection
    var messages = 0
    private var awaited = 0
    private var stream: StreamID?
    private let question = ByteBuffer(repeating: 0x61, count: 64)

    init(_ connection: any LoopConnection) {
        self.connection = connection
    }

    func begin() throws {
        self.connection.start(handler: self)
        self.stream = try self.connection.openStream(.bidirectional)
        self.ask()
    }

    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.connection.consumed(bytes.readableBytes, of: stream)
        self.awaited -= bytes.readableBytes
        guard self.awaited == 0 else { return }
        self.messages += 1
        self.ask()
    }

    private func ask() {
        guard let stream else { return }
        self.awaited = 64
        _ = try? self.connection.write(self.question, to: stream, finish: false)
    }
}
