// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore
import Tern
import Testing

/// Streams, datagrams and closes between Tern and aioquic, in both roles.
@Suite("Echo between Tern and aioquic", .needsPythonPeer, .timeLimit(.minutes(15)))
struct EchoInteropTests {
    @Test("Our client against a foreign server")
    func clientAgainstAioquic() async throws {
        let files = try IdentityFiles()
        let server = try files.python(["server", files.certificate, files.key, "echo"])
        defer { server.send(signal: SIGKILL) }
        var facts = Facts(server)
        let port = try #require(try await facts.next({ $0.port }))
        let connector = try Connector(
            applicationProtocol: ApplicationProtocol("echo"), tls: TLSClientConfiguration(trust: files.trust),
            policy: ConnectionPolicy(.quicOnly))
        let connection = try await connector.connect(to: Endpoint(host: "127.0.0.1", port: port))
        #expect(connection.applicationProtocol == "echo")
        for size in [1, 1 << 20, 4 << 20] { try await echo(size, on: connection) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<30 { group.addTask { try await echo(1000 + index, on: connection) } }
            try await group.waitForAll()
        }
        try await connection.sendDatagram(ByteBuffer(string: "datagram"))
        #expect(try await connection.inboundDatagrams.first { _ in true } == ByteBuffer(string: "datagram"))
        let oneWay = try await connection.openStream(.unidirectional)
        try await oneWay.finish(ByteBuffer(string: "one way"))
        let answer = try #require(try await connection.inboundStreams.first { _ in true })
        #expect(answer.direction == .unidirectional)
        #expect(try await answer.collect() == ByteBuffer(string: "one way"))
        await connection.close(code: 9, reason: "enough")
        #expect(try await facts.next { $0.alpn } == "echo")
        #expect(try await facts.next { $0.closed } == 9)
        #expect(await server.exitCode() == 0)
    }

    @Test("A foreign client against our server")
    func aioquicAgainstListener() async throws {
        let files = try IdentityFiles()
        let listener = try await files.listen()
        let closes = AsyncStream<TransportError>.makeStream()
        let serving = Task {
            await listener.run { connection in
                await serveEcho(connection)
                closes.continuation.yield(await connection.closed())
            }
        }
        let port = try #require(listener.quicAddress.port)
        let client = try files.python(["client", "\(port)", files.authority, "echo"])
        defer { client.send(signal: SIGKILL) }
        var facts = Facts(client)
        #expect(try await facts.next { $0.alpn } == "echo")
        #expect(try await facts.next { $0.echoed } == true)
        #expect(await client.exitCode() == 0)
        let close = await closes.stream.first { _ in true }
        #expect(close == TransportError(.application, message: "", wireCode: 7, initiator: .peer))
        #expect(close?.message == "enough")
        serving.cancel()
        await serving.value
    }

    @Test("Neither side takes a stranger, and the server serves on")
    func strangersAreRefused() async throws {
        let (files, others) = (try IdentityFiles(), try IdentityFiles())
        for (name, trust, code) in [
            ("echo", others.trust, TransportError.Code.certificateRejected), ("other", files.trust, .handshakeFailed),
        ] {
            // The server ends with its first connection.
            let server = try files.python(["server", files.certificate, files.key, "echo"])
            defer { server.send(signal: SIGKILL) }
            var facts = Facts(server)
            let port = try #require(try await facts.next({ $0.port }))
            let connector = try Connector(
                applicationProtocol: ApplicationProtocol(name), tls: TLSClientConfiguration(trust: trust),
                policy: ConnectionPolicy(.quicOnly))
            let error = await #expect(throws: TransportError.self) {
                _ = try await connector.connect(to: Endpoint(host: "127.0.0.1", port: port))
            }
            #expect(error?.code == code)
        }
        let listener = try await files.listen()
        let serving = Task { await listener.run(serveEcho) }
        let ourPort = try #require(listener.quicAddress.port)
        for arguments in [[others.authority, "echo"], [files.authority, "other"]] {
            let refused = try files.python(["client", "\(ourPort)"] + arguments)
            for await _ in refused.lines {}
            #expect(await refused.exitCode() != 0)
        }
        let welcome = try files.python(["client", "\(ourPort)", files.authority, "echo"])
        for await _ in welcome.lines {}
        #expect(await welcome.exitCode() == 0)
        serving.cancel()
        await serving.value
    }
}

/// A self-signed identity in files that go away with the value.
private final class IdentityFiles: Sendable {
    private let folder: URL
    private let made: SelfSignedIdentity

    init() throws {
        self.folder = FileManager.default.temporaryDirectory.appending(path: "tern-interop-\(UUID().uuidString)")
        self.made = try TLSIdentity.selfSigned()
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
        try Data(self.made.certificatePEM).write(to: self.folder.appending(path: "certificate.pem"))
        try Data(self.made.keyPEM).write(to: self.folder.appending(path: "key.pem"))
        try Data(self.made.certificateAuthorityPEM).write(to: self.folder.appending(path: "ca.pem"))
    }

    deinit { try? FileManager.default.removeItem(at: self.folder) }

    var certificate: String { self.folder.appending(path: "certificate.pem").path }
    var key: String { self.folder.appending(path: "key.pem").path }
    var authority: String { self.folder.appending(path: "ca.pem").path }
    var trust: TLSTrust { .certificateAuthorities(pem: self.made.certificateAuthorityPEM) }

    func listen() async throws -> Listener {
        try await Listener.bind(
            to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: self.made.identity))
    }

    func python(_ arguments: [String]) throws -> ChildProcess {
        let interpreter = try #require(PythonPeer.interpreter, PythonPeer.reason)
        return try ChildProcess(
            name: "echo.py", executable: interpreter,
            arguments: [PythonPeer.directory.appending(path: "echo.py").path] + arguments,
            environment: ["PYTHONDONTWRITEBYTECODE": "1"], input: nil,
            log: self.folder.appending(path: "log-\(UUID().uuidString)"))
    }
}

/// One line of what the script tells.
private struct Fact: Decodable {
    var port: Int?
    var alpn: String?
    var closed: Int?
    var echoed: Bool?
}

/// What a script tells, line by line.
private struct Facts {
    private var lines: AsyncStream<ChildProcess.Line>.Iterator

    init(_ process: ChildProcess) {
        self.lines = process.lines.makeAsyncIterator()
    }

    /// The next line that says what is asked for.
    mutating func next<Value>(_ field: (Fact) -> Value?) async throws -> Value? {
        while let line = await self.lines.next(isolation: #isolation) {
            if let value = field(try JSONDecoder().decode(Fact.self, from: Data(line.text.utf8))) { return value }
        }
        return nil
    }
}

@Sendable private func serveEcho(_ connection: Connection) async {
    await withDiscardingTaskGroup { group in
        group.addTask {
            do {
                for try await bytes in connection.inboundDatagrams { try await connection.sendDatagram(bytes) }
            } catch {
                // The connection broke: there is nobody to tell.
            }
        }
        do {
            for try await stream in connection.inboundStreams {
                group.addTask { await answer(stream, on: connection) }
            }
        } catch {
            // As above.
        }
    }
}

private func answer(_ stream: TernTransport.Stream, on connection: Connection) async {
    do {
        let back = stream.direction == .bidirectional ? stream : try await connection.openStream(.unidirectional)
        while let bytes = try await stream.read() { try await back.write(bytes) }
        try await back.finish()
    } catch {
        stream.stopSending(code: 1)
    }
}

private func echo(_ size: Int, on connection: Connection) async throws {
    let sent = ByteBuffer(bytes: (0..<size).map { UInt8(truncatingIfNeeded: (31 &* $0 &+ 17) % 251) })
    let stream = try await connection.openStream()
    async let received = stream.collect()
    try await stream.finish(sent)
    #expect(try await received == sent)
}

extension TernTransport.Stream {
    fileprivate func collect() async throws -> ByteBuffer {
        var all = ByteBuffer()
        while var bytes = try await self.read() { all.writeBuffer(&bytes) }
        return all
    }
}
