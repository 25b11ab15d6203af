// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import NIOPosix
import Tern
import TernTesting
import Testing

@testable import InteropCommon

/// How interop-server sends a file.
@Suite("Files are sent a piece at a time", .timeLimit(.minutes(10)))
struct FilePiecesTests {
    @Test("What a client has no room for stays in the file")
    func stays() async throws {
        let size = 8 << 20
        let path = FileManager.default.temporaryDirectory.appending(path: "tern-pieces-\(UUID())").path
        try Data(randomBytes(size, seed: 5).readableBytesView).write(to: URL(filePath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let file = try File(reading: path)
        var clientLimits = ConnectionLimits()
        clientLimits.streamWindow = 64 << 10
        let group = MultiThreadedEventLoopGroup.singleton
        let pair = InMemoryTransport.makePair(
            clientLoop: group.next(), serverLoop: group.next(), clientLimits: clientLimits, serverLimits: .interop)
        let (client, server) = (Connection(adopting: pair.client), Connection(adopting: pair.server))
        let serving = Task {
            for try await stream in server.inboundStreams {
                try await FileProtocol.http09.answer(with: file, on: stream)
            }
        }
        let stream = try await client.openStream()
        try await stream.finish(ByteBuffer(string: "GET /file\r\n"))
        var (received, most) = (0, 0)
        while let bytes = try await stream.read() {
            received += bytes.readableBytes
            most = max(most, file.bytesRead - received)
        }
        #expect(received == size)
        // The client's window; what waits in the carrier and, as much, on its way there; and the piece that made it wait.
        let limit = clientLimits.streamWindow + 2 * ConnectionLimits.interop.writeHighWatermark + File.chunk
        #expect(most <= limit, "\(most) bytes of the file were in memory")
        await client.close()
        try? await serving.value
    }
}
