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
        var tls = TLSClientConfiguration(trust: self.trust)
        let tickets = TLSSessionCache()
        tls.sessionCache = tickets
        let connector = try QUICConnector(
            tls: tls, applicationProtocols: [HTTP09.applicationProtocol], limits: .interop, options: .fromEnvironment(),
            logger: Logger(label: "interop-client"))
        switch self.testCase {
        case .multiconnect, .handshakeloss, .handshakecorruption:
            for request in requests { try await self.fetch([request], at: server, connector: connector) }
        case .resumption, .zerortt:
            try await self.fetch(Array(requests.prefix(1)), at: server, connector: connector, ticketsIn: tickets)
            try await self.fetch(Array(requests.dropFirst()), at: server, connector: connector)
        default:
            try await self.fetch(requests, at: server, connector: connector)
        }
    }

    // MARK: Connections

    /// Gets files over a connection of their own.
    ///
    /// - Parameter tickets: where the server's tickets go, if the connection must last until one is there.
    private func fetch(
        _ requests: [Request], at server: Endpoint, connector: QUICConnector, ticketsIn tickets: TLSSessionCache? = nil
    ) async throws {
        guard !requests.isEmpty else { return }
        let early = self.testCase == .zerortt && tickets == nil ? requests : []
        let loopConnection = try await self.connect(to: server, connector: connector, early: early)
        let connection = Connection(adopting: loopConnection)
        do {
            if early.isEmpty {
                try await self.fetch(requests, over: connection)
            } else {
                try await self.fetchEarly(requests, over: connection)
                let outcome = try await loopConnection.eventLoop.submit { loopConnection.earlyData }.get()
                if outcome != .accepted { Log.say("0-RTT: \(outcome)") }
            }
            if let tickets { try await Self.untilThereIsOne(in: tickets) }
        } catch {
            await connection.close(code: 1, reason: "the client gave up")
            throw error
        }
        await connection.close()
    }

    /// Tries one address of the server after the other.
    private func connect(
        to server: Endpoint, connector: QUICConnector, early: [Request]
    ) async throws -> any LoopConnection {
        var failure: any Error = TransportError(.unreachable, message: "\(server.host) has no address")
        for address in try addresses(of: server) {
            let attempt = connector.connect(
                to: address, serverName: server.host,
                replayable: early.map { ReplayableStream(HTTP09.request(for: $0.path)) },
                on: MultiThreadedEventLoopGroup.singleton.next())
            do {
                return try await attempt.established.get()
            } catch {
                failure = error
            }
        }
        throw failure
    }

    /// Tickets come when the server likes, and nobody tells.
    private static func untilThereIsOne(in tickets: TLSSessionCache) async throws {
        for _ in 0..<500 where tickets.count == 0 { try await Task.sleep(for: .milliseconds(10)) }
        guard tickets.count > 0 else {
            throw TransportError(.timedOut, message: "the server sends no ticket: its connections can't be resumed")
        }
    }

    // MARK: Files

    /// How many files are under way at once; each is an open file here.
    private static let filesAtOnce = 256

    /// Asks for every file, and gets those that can be had.
    ///
    /// - Throws: the first failure, when the other files are there.
    private func fetch(_ requests: [Request], over connection: Connection) async throws {
        try await self.each(requests.map { ((), $0) }) { _, request in
            let destination = try self.downloads?.destination(of: request.name)
            let stream = try await connection.openStream()
            try await stream.finish(HTTP09.request(for: request.path))
            try await self.store(stream, as: destination)
        }
    }

    /// The same for requests that left with the first packets of the connection.
    private func fetchEarly(_ requests: [Request], over connection: Connection) async throws {
        let streams = try await connection.replayableStreams()
        try await self.each(Array(zip(streams, requests))) { stream, request in
            // Says here, too, that nothing more is sent.
            try await stream.finish()
            try await self.store(stream, as: try self.downloads?.destination(of: request.name))
        }
    }

    private func each<Key: Sendable>(
        _ requests: [(Key, Request)], _ fetch: @escaping @Sendable (Key, Request) async throws -> Void
    ) async throws {
        var failures: [any Error] = []
        await withTaskGroup(of: (any Error)?.self) { group in
            for (index, (key, request)) in requests.enumerated() {
                if index >= Self.filesAtOnce, let failure = await group.next() ?? nil { failures.append(failure) }
                group.addTask {
                    do {
                        try await fetch(key, request)
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

    private func store(_ stream: Stream, as destination: (temporary: String, final: String)?) async throws {
        guard let destination else {
            while try await stream.read() != nil {}
            return
        }
        let download = try Download(destination)
        while let bytes = try await stream.read() { try download.write(bytes) }
        try download.complete()
    }
}
