// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import NIOCore
internal import Tern

extension Workload {
    static let echo = Workload(
        name: "echo",
        summary: {
            """
            \($0.echoRoundTrips) round trips of 64 bytes, one after the other, on one stream of a warm connection between \
            two processes on loopback
            """
        },
        contenders: { profile in
            [BenchmarkCarrier.quic, .tls].map { carrier in
                Contender(name: "tern-\(carrier)", expectedSeconds: Double(profile.echoRoundTrips) * 110e-6 + 0.4) {
                    try $0.echo(profile.echoRoundTrips, over: carrier)
                }
            }
                + [BenchmarkCarrier.quic, .tls].map { carrier in
                    Contender(
                        name: "tern-\(carrier)-handler", expectedSeconds: Double(profile.echoRoundTrips) * 60e-6 + 0.4
                    ) {
                        try $0.loopEcho(profile.echoRoundTrips, over: carrier)
                    }
                }
                + [
                    Contender(name: "bare-udp", expectedSeconds: Double(profile.echoRoundTrips) * 25e-6 + 0.1) {
                        try $0.bareEcho(profile.echoRoundTrips)
                    }
                ]
        },
        columns: [
            Column(title: "p50 µs", key: "p50Microseconds", decimals: 1),
            Column(title: "p99 µs", key: "p99Microseconds", decimals: 1),
            Column(title: "client CPU µs", key: "clientCPUMicroseconds", decimals: 1),
            Column(title: "server CPU µs", key: "serverCPUMicroseconds", decimals: 1),
        ],
        ratios: [
            Ratio(
                key: "p50Microseconds", of: "tern-quic", to: "tern-tls",
                goal: "echo of 64 bytes, p50, async surface, QUIC against TLS", bound: .atMost(1)),
            Ratio(
                key: "p50Microseconds", of: "tern-quic-handler", to: "bare-udp",
                goal: "echo of 64 bytes, p50, handler surface over QUIC, against a bare UDP echo", bound: .atMost(2.5)),
            Ratio(key: "p50Microseconds", of: "tern-quic-handler", to: "tern-tls-handler"),
        ])

    fileprivate static let echoProtocol = ApplicationProtocol("tern-echo")
}

extension Stage {
    fileprivate func echo(_ roundTrips: Int, over carrier: BenchmarkCarrier) throws -> [String: Double] {
        let server = try self.start(.echoServer, name: "echo-server")
        return try self.echo(roundTrips, with: server) { address in
            try self.start(
                .echoClient(EchoClient(server: address, carrier: carrier, roundTrips: roundTrips)),
                name: "echo-client")
        }
    }

    fileprivate func loopEcho(_ roundTrips: Int, over carrier: BenchmarkCarrier) throws -> [String: Double] {
        let server = try self.start(.loopEchoServer(LoopEchoServer(carrier: carrier)), name: "echo-server")
        return try self.echo(roundTrips, with: server) { address in
            try self.start(
                .loopEchoClient(LoopEchoClient(server: address, carrier: carrier, roundTrips: roundTrips)),
                name: "echo-client")
        }
    }

    fileprivate func bareEcho(_ roundTrips: Int) throws -> [String: Double] {
        let server = try self.startPeer(["udp-server"])
        return try self.echo(roundTrips, with: server) { address in
            try self.startPeer(["udp-client", "\(address.port)", "\(EchoClient.warmUp)", "\(roundTrips)"])
        }
    }

    private func echo(
        _ roundTrips: Int, with server: ChildProcess, client startClient: (ServerAddress) throws -> ChildProcess
    ) throws -> [String: Double] {
        let address: ServerAddress = try self.answer(of: server)
        let client = try startClient(address)
        var values: [String: Double] = try self.answer(of: client)
        let clientEnding = try client.finish(within: .seconds(20), whileWaiting: self.tick)
        let serverEnding = try server.stop(.closingInput)
        // Of the whole process: starting, the handshake and warming up are in it.
        let all = Double(roundTrips + EchoClient.warmUp)
        values["clientCPUMicroseconds"] = clientEnding.cpuSeconds * 1e6 / all
        values["serverCPUMicroseconds"] = serverEnding.cpuSeconds * 1e6 / all
        return values
    }
}

/// Sends back what comes on every stream.
func playEchoServer() async throws {
    try await serve(Workload.echoProtocol) { connection in
        do {
            for try await stream in connection.inboundStreams {
                while let bytes = try await stream.read() { try await stream.write(bytes) }
                try await stream.finish()
            }
        } catch {
            FileHandle.standardError.write(Data("a connection ended: \(error)\n".utf8))
        }
    }
}

/// Sends 64 bytes, waits for them, and again.
struct EchoClient: Codable {
    var server: ServerAddress
    var carrier: BenchmarkCarrier
    var roundTrips: Int

    static let warmUp = 1_000
    private static let size = 64

    func play() async throws {
        let connector = try makeConnector(to: self.server, over: self.carrier, Workload.echoProtocol)
        let connection = try await connector.connect(to: self.server.endpoint)
        let stream = try await connection.openStream()
        let question = ByteBuffer(repeating: 0x61, count: Self.size)
        for _ in 0..<Self.warmUp { try await Self.roundTrip(question, on: stream) }
        var latencies = Latencies(capacity: self.roundTrips)
        for _ in 0..<self.roundTrips {
            let start = ContinuousClock.now
            try await Self.roundTrip(question, on: stream)
            latencies.append(ContinuousClock.now - start)
        }
        try await stream.finish()
        await connection.close()
        try tell(latencies.summary)
    }

    private static func roundTrip(_ question: ByteBuffer, on stream: Tern.Stream) async throws {
        try await stream.write(question)
        var awaited = Self.size
        while awaited > 0 {
            guard let bytes = try await stream.read() else { throw BenchmarkError("the echo ended") }
            awaited -= bytes.readableBytes
        }
    }
}
