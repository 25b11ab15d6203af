// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import InteropCommon
import Logging
import NIOCore
import NIOPosix
import Tern

/// One test case with one server: which connections are made, and what happens on them.
struct Trial: Sendable {
    let testCase: TestCase
    let trust: TLSTrust
    let downloads: Folder?

    func run(_ requests: [Request], at server: Endpoint) async throws {
        switch self.testCase {
        case .multiconnect, .handshakeloss, .handshakecorruption:
            for request in requests {
                try await self.withConnection(to: server) { try await self.fetch([request], over: $0) }
            }
        default:
            try await self.withConnection(to: server) { try await self.fetch(requests, over: $0) }
        }
    }

    // MARK: Connections

    private func withConnection(to server: Endpoint, _ body: (Connection) async throws -> Void) async throws {
        let connection = try await self.connect(to: server)
        do {
            try await body(connection)
        } catch {
            await connection.close(code: 1, reason: "the client gave up")
            throw error
        }
        await connection.close()
    }

    /// Tries one address of the server after the other.
    private func connect(to server: Endpoint) async throws -> Connection {
        let connector = try QUICConnector(
            tls: TLSClientConfiguration(trust: self.trust), applicationProtocols: [HTTP09.applicationProtocol],
            limits: .interop, options: .fromEnvironment(), logger: Logger(label: "interop-client"))
        var failure: any Error = TransportError(.unreachable, message: "\(server.host) has no address")
        for address in try addresses(of: server) {
            let attempt = connector.connect(
                to: address, serverName: server.host, on: MultiThreadedEventLoopGroup.singleton.next())
            do {
                return Connection(adopting: try await attempt.established.get())
            } catch {
                failure = error
            }
        }
        throw failure
    }

    // MARK: Files

    /// How many files are under way at once; each is an open file here.
    private static let filesAtOnce = 256

    /// Gets every file that can be had.
    ///
    /// - Throws: the first failure, when the other files are there.
    private func fetch(_ requests: [Request], over connection: Connection) async throws {
        var failures: [any Error] = []
        await withTaskGroup(of: (any Error)?.self) { group in
            for (index, request) in requests.enumerated() {
                if index >= Self.filesAtOnce, let failure = await group.next() ?? nil { failures.append(failure) }
                group.addTask {
                    do {
                        try await self.fetch(request, over: connection)
                        return nil
                    } catch {
                        Log.say("\(request.path): \(error)")
                        return error
                    }
                }
            }
            for await failure in group { if let failure { failures.append(failure) } }
        }
        if let failure = failures.first { throw failure }
    }

    private func fetch(_ request: Request, over connection: Connection) async throws {
        let destination = try self.downloads?.destination(of: request.name)
        let stream = try await connection.openStream()
        try await stream.finish(HTTP09.request(for: request.path))
        guard let destination else {
            while try await stream.read() != nil {}
            return
        }
        let download = try Download(destination)
        while let bytes = try await stream.read() { try download.write(bytes) }
        try download.complete()
    }
}
