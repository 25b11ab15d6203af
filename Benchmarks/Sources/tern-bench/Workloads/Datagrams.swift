// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import NIOCore
internal import Tern

extension Workload {
    static let datagrams = Workload(
        name: "datagrams",
        summary: {
            """
            Datagrams of \(DatagramClient.size) bytes over one connection for \($0.datagramSeconds) s, as fast as they leave; \
            beside it the packets of gtls in bulk (\($0.bulkBytes >> 22) MiB, \(Stage.foreignPayload) bytes in each)
            """
        },
        contenders: { profile in
            [
                Contender(name: "tern-quic", expectedSeconds: profile.datagramSeconds + 0.6) {
                    try $0.datagrams(for: profile.datagramSeconds)
                },
                Contender(name: "gtls", expectedSeconds: 2, missing: GtlsPair.missing) {
                    try $0.packetsOfGtls(profile.bulkBytes / 4)
                },
            ]
        },
        columns: [
            Column(title: "packets/s", key: "packetsPerSecond", decimals: 0),
            Column(title: "lost or shed %", key: "lostPercent", decimals: 2),
            Column(title: "client CPU µs each", key: "clientCPUMicroseconds", decimals: 2),
            Column(title: "server CPU µs each", key: "serverCPUMicroseconds", decimals: 2),
        ],
        ratios: [
            Ratio(
                key: "packetsPerSecond", of: "tern-quic", to: "gtls",
                goal: "datagrams of 1,200 bytes per second, against gtls' packets in bulk", bound: .reported)
        ])
}

extension Stage {
    /// What a packet of 1,444 bytes holds of the file.
    fileprivate static let foreignPayload = 1_400

    fileprivate func datagrams(for seconds: Double) throws -> [String: Double] {
        let server = try self.start(.datagramServer, name: "datagram-server")
        let address: ServerAddress = try self.answer(of: server)
        let client = try self.start(
            .datagramClient(DatagramClient(server: address, seconds: seconds)), name: "datagram-client")
        let result: DatagramClient.Result = try self.answer(of: client)
        let clientEnding = try client.finish(within: .seconds(20), whileWaiting: self.tick)
        let serverEnding = try server.stop(.closingInput)
        let received = Double(max(result.received, 1))
        return [
            "packetsPerSecond": Double(result.received) / seconds,
            "lostPercent": 100 * Double(result.offered - result.received) / Double(max(result.offered, 1)),
            "clientCPUMicroseconds": clientEnding.cpuSeconds * 1e6 / received,
            "serverCPUMicroseconds": serverEnding.cpuSeconds * 1e6 / received,
        ]
    }

    fileprivate func packetsOfGtls(_ byteCount: Int) throws -> [String: Double] {
        let pair = try GtlsPair(self.foreignGround, identity: self.identityFiles().files)
        let fetch = try self.fetch(byteCount, through: pair)
        let packets = Double(byteCount) / Double(Self.foreignPayload)
        return [
            "packetsPerSecond": packets / fetch.client.wallSeconds,
            "clientCPUMicroseconds": fetch.client.cpuSeconds * 1e6 / packets,
            "serverCPUMicroseconds": fetch.server.cpuSeconds * 1e6 / packets,
        ]
    }
}

/// Counts datagrams, and tells the number on every stream that a client ends.
private final class DatagramCounter: QuietHandler {
    private let connection: any LoopConnection
    private var count = 0

    init(_ connection: any LoopConnection) {
        self.connection = connection
    }

    func datagramReceived(_ bytes: ByteBuffer) { self.count += 1 }

    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.connection.consumed(bytes.readableBytes, of: stream)
        if finished { _ = try? self.connection.write(ByteBuffer(integer: self.count), to: stream, finish: true) }
    }
}

func playDatagramServer() async throws {
    try await LoopServer.bind(DatagramClient.applicationProtocol, over: .quic) { connection in
        connection.start(handler: DatagramCounter(connection))
    }.serveUntilInputEnds()
}

/// Sends datagrams for a while, then asks how many came.
struct DatagramClient: Codable {
    var server: ServerAddress
    var seconds: Double

    static let size = 1_200
    static let applicationProtocol = ApplicationProtocol("tern-datagrams")

    struct Result: Codable {
        var offered: Int
        var received: Int
    }

    func play() async throws {
        let dialer = try LoopDialer(to: self.server, over: .quic, Self.applicationProtocol)
        let connection = try await dialer.connect()
        let done = connection.eventLoop.makePromise(of: Result.self)
        try await connection.eventLoop.submit {
            DatagramFlood(connection, seconds: self.seconds, done: done).begin()
        }.get()
        let result = try await done.futureResult.get()
        try await connection.eventLoop.submit { connection.close(code: 0, reason: "") }.get()
        try tell(result)
    }
}

/// Offers datagrams in small lots, fewer while the connection sheds them.
private final class DatagramFlood: QuietHandler {
    private let connection: any LoopConnection
    private let done: EventLoopPromise<DatagramClient.Result>
    private let end: ContinuousClock.Instant
    private let payload = ByteBuffer(repeating: 0x61, count: DatagramClient.size)
    private var offered = 0
    private var shed: UInt64 = 0
    private var answer = ByteBuffer()

    init(_ connection: any LoopConnection, seconds: Double, done: EventLoopPromise<DatagramClient.Result>) {
        self.connection = connection
        self.end = .now + .seconds(seconds)
        self.done = done
    }

    func begin() {
        self.connection.start(handler: self)
        self.sendLot()
    }

    private func sendLot() {
        for _ in 0..<64 {
            let outcome = (try? self.connection.sendDatagram(self.payload)) ?? .dropped
            guard outcome == .accepted else { break }
            self.offered += 1
        }
        guard ContinuousClock.now < self.end else { return self.ask() }
        let flood = NIOLoopBound(self, eventLoop: self.connection.eventLoop)
        self.connection.eventLoop.scheduleTask(in: .microseconds(20)) { flood.value.sendLot() }
    }

    private func ask() {
        do {
            guard let stream = try self.connection.openStream(.bidirectional) else {
                throw BenchmarkError("no stream may be opened")
            }
            _ = try self.connection.write(ByteBuffer(), to: stream, finish: true)
        } catch {
            self.done.fail(error)
        }
    }

    func streamReceived(_ stream: StreamID, bytes: ByteBuffer, finished: Bool) {
        self.connection.consumed(bytes.readableBytes, of: stream)
        var bytes = bytes
        self.answer.writeBuffer(&bytes)
        guard finished else { return }
        self.done.succeed(
            DatagramClient.Result(offered: self.offered, received: self.answer.readInteger(as: Int.self) ?? 0))
    }

    func connectionClosed(_ reason: TransportError) { self.done.fail(reason) }
}
