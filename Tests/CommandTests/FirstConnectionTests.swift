// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore
import NIOPosix
import TestTimeLimits
import Testing

/// How long a verb waits for its first connection.
@Suite(.untilItHangs)
struct FirstConnectionTests {
    private let tern: TernProgram
    private static let verbs = [
        ["ping"], ["send", "--token", "dev:a", "--to", "b"], ["tail", "--token", "dev:a"],
        ["chat", "--token", "dev:a", "--with", "b"],
    ]

    init() throws {
        self.tern = try TernProgram()
    }

    /// Takes connections and datagrams and says nothing.
    private func withMuteServer(_ body: (Int) async throws -> Void) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let tcp = try await ServerBootstrap(group: group)
            .childChannelInitializer { $0.eventLoop.makeSucceededVoidFuture() }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(tcp.localAddress?.port)
        let udp = try await DatagramBootstrap(group: group).bind(host: "127.0.0.1", port: port).get()
        let result: Result<Void, any Error>
        do { result = .success(try await body(port)) } catch { result = .failure(error) }
        try await tcp.close()
        try await udp.close()
        try result.get()
    }

    @Test("A server that does not answer is waited for until the time is over, not longer", arguments: verbs)
    func muteServer(verb: [String]) async throws {
        try await self.withMuteServer { port in
            let began = ContinuousClock.now
            let run = try await self.tern.run(
                [verb[0], "--server", "127.0.0.1:\(port)", "--timeout", "2"] + verb.dropFirst())
            #expect(run.exitCode == 69, "\(run.errors)")
            #expect(run.errors.contains("could not connect to 127.0.0.1:\(port)"), "\(run.errors)")
            #expect(run.errors.contains("2 s"), "\(run.errors)")
            #expect(run.errors.split(separator: "\n").count == 1, "\(run.errors)")
            #expect(began.duration(to: .now) >= .seconds(2))
        }
    }

    @Test("A server that is not there is said at once", arguments: verbs)
    func refused(verb: [String]) async throws {
        // Its port is free again; nobody takes it within the moment.
        var port = 0
        try await self.withMuteServer { port = $0 }
        let run = try await self.tern.run(
            [verb[0], "--server", "127.0.0.1:\(port)", "--timeout", "3600"] + verb.dropFirst())
        #expect(run.exitCode == 69, "\(run.errors)")
        #expect(run.errors.contains("could not connect to 127.0.0.1:\(port)"), "\(run.errors)")
    }
}
