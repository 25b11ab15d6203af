// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import NIOCore
internal import Tern

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

extension Workload {
    static let memory = Workload(
        name: "memory",
        summary: {
            """
            \($0.idleConnections) idle connections on a server in a process of its own: what its resident memory grew by, for \
            each of them
            """
        },
        contenders: { profile in
            [(BenchmarkCarrier.quic, false), (.quic, true), (.tls, false)].map { carrier, onLoop in
                Contender(
                    name: "tern-\(carrier)\(onLoop ? "-handler" : "")",
                    expectedSeconds: Double(profile.idleConnections) * 3e-3 + 3
                ) {
                    try $0.idle(profile.idleConnections, over: carrier, onLoop: onLoop)
                }
            }
        },
        columns: [
            Column(title: "KB per connection", key: "kilobytesPerConnection", decimals: 1),
            Column(title: "server MiB before", key: "residentMiBBefore", decimals: 1),
            Column(title: "server MiB after", key: "residentMiBAfter", decimals: 1),
            Column(title: "client KB per connection", key: "clientKilobytesPerConnection", decimals: 1),
        ],
        ratios: [],
        goals: [
            Goal(
                figure: "resident KB per idle QUIC connection", key: "kilobytesPerConnection", of: "tern-quic",
                bound: .atMost(64)),
            Goal(
                figure: "the same on the handler surface", key: "kilobytesPerConnection", of: "tern-quic-handler",
                bound: .atMost(64)),
            Goal(
                figure: "resident KB per idle QMux/TLS connection", key: "kilobytesPerConnection", of: "tern-tls",
                bound: .atMost(48)),
        ],
        roundLimit: 2)
}

extension Stage {
    /// - Parameter onLoop: whether the server is one on the handler surface.
    fileprivate func idle(
        _ count: Int, over carrier: BenchmarkCarrier, onLoop: Bool
    ) throws -> [String: Double] {
        let role: Role =
            onLoop ? .loopEchoServer(LoopEchoServer(carrier: carrier)) : .idleServer(IdleServer(carrier: carrier))
        let server = try self.start(role, name: "idle-server")
        let address: ServerAddress = try self.answer(of: server)
        // One connection, so that what is made once is there before.
        let first = try self.start(
            .idleClient(IdleClient(server: address, carrier: carrier, count: 1, onLoop: onLoop)), name: "first-client")
        let _: Int = try self.answer(of: first)
        let before = server.residentBytes
        let client = try self.start(
            .idleClient(IdleClient(server: address, carrier: carrier, count: count, onLoop: onLoop)),
            name: "idle-client")
        let clientBefore = client.residentBytes
        let open: Int = try self.answer(of: client)
        let after = server.residentBytes
        let clientAfter = client.residentBytes
        for child in [client, first, server] { _ = try child.stop(.closingInput) }
        return [
            "kilobytesPerConnection": Double(after - before) / Double(open) / 1e3,
            "clientKilobytesPerConnection": Double(clientAfter - clientBefore) / Double(open) / 1e3,
            "residentMiBBefore": Double(before) / 1_048_576, "residentMiBAfter": Double(after) / 1_048_576,
            "connections": Double(open),
        ]
    }
}

/// Accepts connections and does nothing with them: on the async surface, as most servers do.
struct IdleServer: Codable {
    var carrier: BenchmarkCarrier

    static let applicationProtocol = ApplicationProtocol("tern-idle")

    func play() async throws {
        raiseDescriptorLimit()
        try await serve(Self.applicationProtocol) { connection in await connection.closed() }
    }
}

/// Opens connections, says how many, and keeps them until its input ends.
struct IdleClient: Codable {
    var server: ServerAddress
    var carrier: BenchmarkCarrier
    var count: Int
    /// What kind of server it is.
    var onLoop: Bool

    private static let atOnce = 32

    func play() async throws {
        raiseDescriptorLimit()
        let dialer = try LoopDialer(
            to: self.server, over: self.carrier,
            self.onLoop ? LoopEchoServer.applicationProtocol : IdleServer.applicationProtocol)
        let connections = try await withThrowingTaskGroup(of: [any LoopConnection].self) { group in
            for number in 0..<Self.atOnce {
                let share = self.count / Self.atOnce + (number < self.count % Self.atOnce ? 1 : 0)
                group.addTask { try await Self.open(share, through: dialer) }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        // Until the last handshakes are confirmed and the path's MTU is found.
        try await Task.sleep(for: .seconds(2))
        try tell(connections.count)
        await untilInputEnds()
    }

    private static func open(_ count: Int, through dialer: LoopDialer) async throws -> [any LoopConnection] {
        var connections: [any LoopConnection] = []
        for _ in 0..<count {
            let connection = try await dialer.connect()
            try await connection.eventLoop.submit { connection.start(handler: IdleHandler()) }.get()
            connections.append(connection)
        }
        return connections
    }
}

/// One descriptor for each connection, as many as the system lets us have.
private func raiseDescriptorLimit() {
    var limit = rlimit()
    #if canImport(Glibc)
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #else
    let resource = RLIMIT_NOFILE
    #endif
    guard getrlimit(resource, &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(resource, &limit)
}
