// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore
import NIOPosix
import Tern
import TestTimeLimits
import Testing

/// What a server keeps for itself, so that a restart is noticed and nobody else can play it.
@Suite(.untilItHangs)
struct ServerSecretTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    private var secret: String { self.tern.path("data/server.secret") }

    private func write(_ identity: SelfSignedIdentity, as name: String) throws {
        try Data(identity.certificatePEM).write(to: URL(filePath: self.tern.path("\(name).pem")))
        try self.tern.writeSecret(String(decoding: identity.keyPEM, as: UTF8.self), to: "\(name)-key.pem")
    }

    private func identityOptions(_ name: String) -> [String] {
        [
            "--development", "--tls-certificate", self.tern.path("\(name).pem"),
            "--tls-key", self.tern.path("\(name)-key.pem"),
        ]
    }

    /// RFC 9000, section 21.11: one server must not make the tokens of another's stateless resets.
    @Test("Two servers of one certificate reset differently, and each as before after a restart")
    func resets() async throws {
        try self.write(try TLSIdentity.selfSigned(), as: "one")
        var server = try await self.tern.serve(data: "data", self.identityOptions("one"))
        let other = try await self.tern.serve(data: "other", self.identityOptions("one"))
        let reset = try await self.reset(from: server.port)
        #expect(try await self.reset(from: other.port) != reset)
        _ = await server.stop()
        server = try await self.tern.serve(data: "data", self.identityOptions("one"))
        #expect(try await self.reset(from: server.port) == reset)
        _ = await server.stop()
        _ = await other.stop()
    }

    /// The token with which a server ends a connection that it does not know: the last 16 bytes (RFC 9000, section 10.3).
    private func reset(from port: Int) async throws -> [UInt8] {
        // A short header with a connection ID as servers of node 0 issue them, and bytes that no key fits.
        var packet = ByteBuffer(bytes: [0x40] + [UInt8](repeating: 0, count: 18))
        packet.writeRepeatingByte(0xaa, count: 60)
        let (answers, sink) = AsyncStream.makeStream(of: [UInt8].self)
        let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(DatagramCollector(sink: sink))
                }
            }.bind(host: "127.0.0.1", port: 0).get()
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
        // What is lost on the way is sent again.
        let sending = channel.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .seconds(1)) { _ in
            channel.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: packet), promise: nil)
        }
        var iterator = answers.makeAsyncIterator()
        let answer = try #require(await iterator.next())
        sending.cancel()
        try await channel.close()
        return Array(answer.suffix(16))
    }

    /// The second server has another certificate, which the client does not trust: it is let in by its ticket, or not at all.
    /// (QMux resumes only to send early.)
    @Test("A ticket is good after a restart")
    func tickets() async throws {
        let (one, two) = (try TLSIdentity.selfSigned(), try TLSIdentity.selfSigned())
        try self.write(one, as: "one")
        try self.write(two, as: "two")
        let cache = TLSSessionCache()
        var tls = TLSClientConfiguration(trust: .certificateAuthorities(pem: one.certificateAuthorityPEM))
        tls.sessionCache = cache
        let connector = try Connector(applicationProtocol: .messages, tls: tls, policy: ConnectionPolicy(.quicOnly))
        let server = try await self.tern.serve(data: "data", self.identityOptions("one"))
        let endpoint = try #require(Endpoint(server.address))
        let first = try await connector.connect(to: endpoint)
        while cache.count == 0 { try await Task.sleep(for: .milliseconds(5)) }
        await first.close()
        _ = await server.stop()
        let restarted = try self.tern.start(
            ["serve", "--json", "--listen", server.address, "--data", self.tern.path("data")]
                + self.identityOptions("two"))
        var lines = restarted.process.lines.makeAsyncIterator()
        _ = try #require(await lines.next(), "\(restarted.readErrors())")
        let second = try await connector.connect(to: endpoint)
        await second.close()
        restarted.process.send(signal: SIGTERM)
        _ = await restarted.end()
    }

    @Test("The secret is drawn once, for its owner only")
    func secretIsKept() async throws {
        _ = await (try await self.tern.serve()).stop()
        let bytes = try Data(contentsOf: URL(filePath: self.secret))
        #expect(bytes.count == 32 && Set(bytes).count > 8)
        let attributes = try FileManager.default.attributesOfItem(atPath: self.secret)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        // As a volume of Kubernetes is mounted again.
        #expect(chmod(self.secret, 0o660) == 0 && chmod(self.tern.path("data"), 0o2770) == 0)
        let run = await (try await self.tern.serve()).stop()
        #expect(try Data(contentsOf: URL(filePath: self.secret)) == bytes)
        #expect(run.errors.contains("server.secret was open to its group"), "\(run.errors)")
        let closed = try FileManager.default.attributesOfItem(atPath: self.secret)
        #expect(closed[.posixPermissions] as? Int == 0o600)
    }

    @Test("A secret that is no secret, or none of ours", arguments: ["short", "open", "link", "directory"])
    func badSecret(kind: String) async throws {
        _ = await (try await self.tern.serve()).stop()
        switch kind {
        case "short": try Data("short".utf8).write(to: URL(filePath: self.secret))
        case "open": try #require(chmod(self.secret, 0o644) == 0)
        case "link":
            try FileManager.default.moveItem(atPath: self.secret, toPath: self.tern.path("elsewhere"))
            try FileManager.default.createSymbolicLink(
                atPath: self.secret, withDestinationPath: self.tern.path("elsewhere"))
        default:
            try FileManager.default.removeItem(atPath: self.secret)
            try FileManager.default.createDirectory(atPath: self.secret, withIntermediateDirectories: false)
        }
        let run = try await self.tern.run([
            "serve", "--listen", "127.0.0.1:0", "--data", self.tern.path("data"), "--self-signed", "--development",
        ])
        #expect(run.exitCode == 78 && run.errors.contains(self.secret), "\(run.errors)")
    }
}

private final class DatagramCollector: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let sink: AsyncStream<[UInt8]>.Continuation

    init(sink: AsyncStream<[UInt8]>.Continuation) {
        self.sink = sink
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.sink.yield(Array(self.unwrapInboundIn(data).data.readableBytesView))
    }
}
