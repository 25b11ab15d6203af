// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import NIOCore
internal import Tern

extension Workload {
    static let handshakes = Workload(
        name: "handshakes",
        summary: {
            """
            \($0.handshakes) full handshakes (ECDSA P-256, X25519, no resumption), \(HandshakeClient.atOnce) at a time, by \
            the same client
            """
        },
        contenders: { profile in
            [
                Contender(name: "tern-quic", expectedSeconds: Double(profile.handshakes) * 2e-3 + 1) {
                    try $0.handshakes(
                        profile.handshakes, with: .idleServer(IdleServer(carrier: .quic)),
                        IdleServer.applicationProtocol)
                },
                Contender(name: "tern-quic-handler", expectedSeconds: Double(profile.handshakes) * 2e-3 + 1) {
                    try $0.handshakes(
                        profile.handshakes, with: .loopEchoServer(LoopEchoServer(carrier: .quic)),
                        LoopEchoServer.applicationProtocol)
                },
                Contender(
                    name: "gtls", expectedSeconds: Double(profile.handshakes) * 2e-3 + 1, missing: GtlsPair.missing
                ) {
                    try $0.foreignHandshakes(profile.handshakes)
                },
            ]
        },
        columns: [
            Column(title: "handshakes per server CPU s", key: "handshakesPerServerCPUSecond", decimals: 0),
            Column(title: "handshakes/s", key: "handshakesPerSecond", decimals: 0),
            Column(title: "p50 ms", key: "p50Milliseconds", decimals: 2),
        ],
        ratios: [
            Ratio(
                key: "handshakesPerServerCPUSecond", of: "tern-quic", to: "gtls",
                goal: "full handshakes per CPU second of the server, against gtlsserver", bound: .atLeast(1)),
            Ratio(
                key: "handshakesPerServerCPUSecond", of: "tern-quic-handler", to: "gtls",
                goal: "the same on the handler surface"),
        ])
}

extension Stage {
    fileprivate func handshakes(
        _ count: Int, with role: Role, _ applicationProtocol: Tern.ApplicationProtocol
    ) throws -> [String: Double] {
        let server = try self.start(role, name: "handshake-server")
        let address: ServerAddress = try self.answer(of: server)
        let values = try self.shakeHands(
            count, with: server, at: address, applicationProtocol: applicationProtocol.quic)
        _ = try server.stop(.closingInput)
        return values
    }

    fileprivate func foreignHandshakes(_ count: Int) throws -> [String: Double] {
        let (identity, authority) = try self.identityFiles()
        let pair = try GtlsPair(self.foreignGround, identity: identity)
        let server = try pair.startServer(directory: self.scratch)
        let address = ServerAddress(port: pair.port, certificateAuthority: authority)
        let values = try self.shakeHands(count, with: server, at: address, applicationProtocol: "h3")
        _ = try server.stop(.signal(SIGTERM))
        return values
    }

    private func shakeHands(
        _ count: Int, with server: ChildProcess, at address: ServerAddress, applicationProtocol: String
    ) throws -> [String: Double] {
        let before = server.cpuSeconds
        let client = try self.start(
            .handshakeClient(
                HandshakeClient(server: address, applicationProtocol: applicationProtocol, count: count)),
            name: "handshake-client")
        var values: [String: Double] = try self.answer(of: client)
        _ = try client.finish(within: .seconds(20), whileWaiting: self.tick)
        let used = server.cpuSeconds - before
        values["handshakesPerServerCPUSecond"] = Double(count) / used
        values["serverCPUMicroseconds"] = used * 1e6 / Double(count)
        return values
    }
}

/// Connects, closes, and again.
struct HandshakeClient: Codable {
    var server: ServerAddress
    var applicationProtocol: String
    var count: Int

    static let atOnce = 8

    func play() async throws {
        let dialer = try LoopDialer(
            to: self.server, over: .quic, ApplicationProtocol(quic: self.applicationProtocol, tls: "none"))
        // What happens once, such as reading the trust, is not a handshake's.
        try await Self.shakeHands(1, through: dialer)
        let start = ContinuousClock.now
        let latencies = try await withThrowingTaskGroup(of: Latencies.self) { group in
            for number in 0..<Self.atOnce {
                let share = self.count / Self.atOnce + (number < self.count % Self.atOnce ? 1 : 0)
                group.addTask { try await Self.shakeHands(share, through: dialer) }
            }
            return try await group.reduce(into: Latencies(capacity: self.count)) { $0.append(contentsOf: $1) }
        }
        let seconds = (ContinuousClock.now - start).seconds
        try tell([
            "handshakesPerSecond": Double(self.count) / seconds,
            "p50Milliseconds": (latencies.summary["p50Microseconds"] ?? 0) / 1e3,
        ])
    }

    @discardableResult
    private static func shakeHands(_ count: Int, through dialer: LoopDialer) async throws -> Latencies {
        var latencies = Latencies(capacity: count)
        for _ in 0..<count {
            let start = ContinuousClock.now
            let connection = try await dialer.connect()
            latencies.append(ContinuousClock.now - start)
            try await connection.eventLoop.submit {
                connection.start(handler: IdleHandler())
                connection.close(code: 0, reason: "")
            }.get()
        }
        return latencies
    }
}
