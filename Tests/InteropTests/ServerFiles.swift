// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import Tern

/// A server's identity, in files as foreign programs want it, and the directory of one test. It goes away with the object.
final class ServerFiles: Sendable {
    let directory: URL
    let made: SelfSignedIdentity

    init() throws {
        self.made = try TLSIdentity.selfSigned()
        self.directory = FileManager.default.temporaryDirectory.appending(path: "tern-interop-\(UUID())")
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
        try Data(self.made.keyPEM).write(to: self.key)
        try Data(self.made.certificatePEM).write(to: self.certificate)
        try Data(self.made.certificateAuthorityPEM).write(to: self.authority)
    }

    deinit {
        try? FileManager.default.removeItem(at: self.directory)
    }

    var key: URL { self.directory.appending(path: "key.pem") }
    var certificate: URL { self.directory.appending(path: "certificate.pem") }
    var authority: URL { self.directory.appending(path: "ca.pem") }
    /// What the foreign program wrote to its standard error.
    var log: URL { self.directory.appending(path: "log") }
    var logged: String { (try? String(contentsOf: self.log, encoding: .utf8)) ?? "" }

    /// A client that trusts this identity and speaks only QUIC.
    func connector(alpn: String = "echo", limits: ConnectionLimits = ConnectionLimits()) throws -> Connector {
        try Connector(
            applicationProtocol: ApplicationProtocol(alpn),
            tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: self.made.certificateAuthorityPEM)),
            policy: ConnectionPolicy(.quicOnly), limits: limits)
    }
}

/// Runs `body` against our listener, which serves every connection with `serve`; gives it the port and how each ended.
func withListener(
    _ files: ServerFiles, alpn: String = "echo", limits: ConnectionLimits = ConnectionLimits(),
    serve: @escaping @Sendable (Connection) async -> Void,
    _ body: (Int, AsyncStream<TransportError>) async throws -> Void
) async throws {
    let (ends, ended) = AsyncStream.makeStream(of: TransportError.self)
    let listener = try await Listener.bind(
        to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol(alpn),
        tls: TLSServerConfiguration(identity: files.made.identity), limits: limits)
    let running = Task {
        await listener.run { connection in
            await serve(connection)
            ended.yield(await connection.closed())
        }
    }
    do {
        try await body(listener.quicAddress.port ?? 0, ends)
    } catch {
        await listener.close()
        await running.value
        throw error
    }
    await listener.close()
    await running.value
}

/// Everything up to the end of a stream.
func readAll(_ stream: Tern.Stream) async throws -> ByteBuffer {
    var all = ByteBuffer()
    while var bytes = try await stream.read() { all.writeBuffer(&bytes) }
    return all
}

/// Bytes that differ from seed to seed and do not repeat at a short distance (xorshift).
func randomBytes(_ count: Int, seed: Int) -> ByteBuffer {
    var state = UInt64(truncatingIfNeeded: seed) &* 0x9e37_79b9_7f4a_7c15 | 1
    var buffer = ByteBuffer()
    buffer.reserveCapacity(count + 8)
    while buffer.readableBytes < count {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        buffer.writeInteger(state)
    }
    return buffer.getSlice(at: 0, length: count) ?? ByteBuffer()
}
