// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore
import NIOPosix
import Tern
import Testing

/// `tern serve` as a process: what it prints, how it ends, and what it says of what cannot work.
@Suite(.timeLimit(.minutes(10)))
struct ServeTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    @Test("One ready line with both addresses, and 0 on SIGTERM and SIGINT", arguments: [SIGTERM, SIGINT])
    func readyThenDrained(signal: Int32) async throws {
        let server = try await self.tern.serve()
        #expect(server.ready.event == "ready")
        #expect(server.port > 0)
        #expect(server.ready.string("tls") == server.address)
        #expect(server.ready.string("authentication") == "development")
        #expect(server.ready.string("data") == self.tern.path("data"))
        #expect(FileManager.default.fileExists(atPath: server.caFile))
        let key = try FileManager.default.attributesOfItem(atPath: self.tern.path("data/key.pem"))
        #expect(key[.posixPermissions] as? Int == 0o600)

        server.running.process.send(signal: signal)
        let run = await server.running.end()
        #expect(run.exitCode == 0, "\(run.errors)")
        #expect(run.output.isEmpty, "the ready line was the only one")
    }

    @Test("A data directory that is deleted under the server ends it with 74, and nothing more is acknowledged")
    func dataDirectoryIsDeleted() async throws {
        let server = try await self.tern.serve()
        let pipe = Pipe()
        let sending = try self.tern.start(
            [
                "send", "--json", "--to", "bob", "--timeout", "3", "--server", server.address, "--ca", server.caFile,
                "--token", "dev:ann",
            ], input: pipe.fileHandleForReading)
        var lines = sending.process.lines.makeAsyncIterator()
        try pipe.fileHandleForWriting.write(contentsOf: Data("before\n".utf8))
        while let line = await lines.next(), try JSON(line.text).event != "ack" {}
        try FileManager.default.removeItem(atPath: self.tern.path("data"))
        try pipe.fileHandleForWriting.write(contentsOf: Data("after\n".utf8))
        let end = await server.running.end()
        #expect(end.exitCode == 74, "\(end.errors)")
        #expect(end.errors.contains("messages.sqlite was deleted or moved away while it was in use"), "\(end.errors)")
        try pipe.fileHandleForWriting.close()
        while let line = await lines.next() { #expect(try JSON(line.text).event != "ack", "\(line.text)") }
        #expect(await sending.end().exitCode == 69)
    }

    @Test("Without --json the line begins with ready and names the same things")
    func readyForPeople() async throws {
        let running = try self.tern.start([
            "serve", "--listen", "127.0.0.1:0", "--data", self.tern.path("data"), "--self-signed", "--development",
        ])
        var lines = running.process.lines.makeAsyncIterator()
        let words = try #require(await lines.next()).text.split(separator: " ")
        #expect(words.first == "ready")
        #expect(words.contains { $0.hasPrefix("quic=127.0.0.1:") } && words.contains { $0.hasPrefix("tls=127.0.0.1:") })
        #expect(words.contains("ca=\(self.tern.path("data/ca.pem"))"))
        running.process.send(signal: SIGTERM)
        #expect(await running.end().exitCode == 0)
    }

    @Test("The self-signed identity is the same after a restart")
    func identityIsKept() async throws {
        let first = try await self.tern.serve()
        let authority = try Data(contentsOf: URL(filePath: first.caFile))
        _ = await first.stop()
        let second = try await self.tern.serve()
        #expect(try Data(contentsOf: URL(filePath: second.caFile)) == authority)
        _ = await second.stop()
    }

    @Test("Ping reports the carrier that it was told to take", arguments: ["quic", "tls"])
    func pingTakesTheCarrier(carrier: String) async throws {
        let server = try await self.tern.serve()
        let run = try await self.tern.run([
            "ping", "--json", "--server", server.address, "--ca", server.caFile, "--carrier", carrier, "--count", "2",
        ])
        let pings = try run.output.map { try JSON($0) }
        #expect(run.exitCode == 0, "\(run.errors)")
        #expect(pings.map { $0.number("number") } == [1, 2])
        for ping in pings {
            #expect(ping.event == "ping" && ping.string("carrier") == carrier)
            #expect(ping.string("reason") == "only-choice" && ping.string("address") == server.address)
            #expect(try #require(ping.number("handshakeMilliseconds")) > 0)
            #expect(try #require(ping.number("roundTripMilliseconds")) > 0)
        }
        _ = await server.stop()
    }

    @Test("Random bytes on both ports change nothing for others")
    func randomBytesAreSurvived() async throws {
        let server = try await self.tern.serve()
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: server.port)
        var generator = SystemRandomNumberGenerator()
        let udp = try await DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .bind(host: "127.0.0.1", port: 0).get()
        for size in [0, 1, 7, 20, 21, 200, 1_200, 1_400] {
            let bytes = ByteBuffer(bytes: (0..<size).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
            try await udp.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: bytes))
            let tcp = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup).connect(to: address).get()
            // The server may close before everything is written: that is its right.
            try? await tcp.writeAndFlush(bytes)
            try? await tcp.close()
        }
        try await udp.close()
        let run = try await self.tern.run(["ping", "--server", server.address, "--ca", server.caFile, "--count", "3"])
        #expect(run.exitCode == 0, "\(run.errors)")
        #expect(await server.stop().exitCode == 0)
    }
}
