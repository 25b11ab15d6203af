// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore
import Tern
import Testing

/// Our QUIC against ngtcp2's own programs, which speak HTTP/3: a GET of one file in each direction.
@Suite(.serialized, .timeLimit(.minutes(10)))
struct DistributionTests {
    @Test("Our client gets a file from gtlsserver", .needs(.gtlsserver))
    func server() async throws {
        let files = try ServerFiles()
        let documents = files.directory.appending(path: "documents")
        try FileManager.default.createDirectory(at: documents, withIntermediateDirectories: true)
        let content = randomBytes(1 << 20, seed: 5)
        try Data(content.readableBytesView).write(to: documents.appending(path: "file"))
        let server = try await DistributionServer(files, documents: documents)

        let connection = try await files.connector(alpn: "h3")
            .connect(to: Endpoint(host: "127.0.0.1", port: server.port))
        #expect(connection.applicationProtocol == "h3")
        let control = try await connection.openStream(.unidirectional)
        try await control.write(HTTP3.controlStream)
        let request = try await connection.openStream()
        try await request.finish(HTTP3.get("/file", authority: "127.0.0.1"))
        #expect(HTTP3.body(of: try await readAll(request)) == content)
        await connection.close(code: 0x100, reason: "H3_NO_ERROR")
        #expect(await connection.closed().initiator == .local, "the server had no complaint before")
    }

    @Test("gtlsclient gets a file from our listener", .needs(.gtlsclient))
    func client() async throws {
        let files = try ServerFiles()
        let content = randomBytes(1 << 20, seed: 6)
        let downloads = files.directory.appending(path: "downloads")
        try FileManager.default.createDirectory(at: downloads, withIntermediateDirectories: true)
        let serve: @Sendable (Connection) async -> Void = { connection in
            #expect(connection.applicationProtocol == "h3")
            await #expect(throws: Never.self) { try await Self.answer(content, on: connection) }
            await connection.closed()
        }
        try await withListener(files, alpn: "h3", serve: serve) { port, ends in
            let executable = try #require(
                DistributionProgram.gtlsclient.executable, DistributionProgram.gtlsclient.reason)
            let process = try ChildProcess(
                name: "gtlsclient", executable: executable,
                arguments: [
                    "-q", "--exit-on-all-streams-close", "--download", downloads.path, "--sni", "localhost",
                    "127.0.0.1", "\(port)", "https://127.0.0.1:\(port)/file",
                ], environment: [:], input: nil, log: files.log)
            let exitCode = await withTaskCancellationHandler {
                await process.exitCode()
            } onCancel: {
                process.send(signal: SIGKILL)
            }
            #expect(exitCode == 0, "\(files.logged)")
            let downloaded = try Data(contentsOf: downloads.appending(path: "file"))
            #expect(ByteBuffer(bytes: downloaded) == content)
            for await end in ends {
                #expect(end.code == .application, "\(end)")
                break
            }
        }
    }

    /// Answers the first bidirectional stream; the client's others are its control stream and those of QPACK.
    private static func answer(_ content: ByteBuffer, on connection: Connection) async throws {
        let control = try await connection.openStream(.unidirectional)
        try await control.write(HTTP3.controlStream)
        var streams: [Tern.Stream] = [control]
        for try await stream in connection.inboundStreams {
            streams.append(stream)
            guard stream.direction == .bidirectional else { continue }
            let request = try await readAll(stream)
            #expect(request.readableBytes > 0)
            try await stream.finish(HTTP3.answer(content))
            break
        }
        // HTTP/3 forbids to end a control stream: they live as long as the connection.
        await connection.closed()
        withExtendedLifetime(streams) {}
    }
}
