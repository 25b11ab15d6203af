// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ArgumentParser
import InteropCommon
import Logging
import NIOCore
import NIOPosix
import Tern

/// One test case with one server: which connections are made, and what happens on them.
struct Trial: Sendable {
    let testCase: TestCase
    let fileProtocol: FileProtocol
    let trust: TLSTrust
    let downloads: Folder?

    func run(_ requests: [Request], at server: Endpoint) async throws {
        var tls = TLSClientConfiguration(trust: self.trust)
        let tickets = TLSSessionCache()
        tls.sessionCache = tickets
        if self.testCase == .chacha20 { tls.cipherSuites = [.chaCha20Poly1305] }
        let connector = try QUICConnector(
            tls: tls, applicationProtocols: [self.fileProtocol.applicationProtocol], limits: .interop,
            options: .fromEnvironment(),
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
        let isEarly = self.testCase == .zerortt && tickets == nil
        let connection = try await self.connect(to: server, connector: connector, early: isEarly ? requests : [])
        do {
            let control = try await self.fileProtocol.openControlStream(on: connection)
            defer { withExtendedLifetime(control) {} }
            if isEarly {
                try await self.fetchEarly(requests, over: connection)
                let outcome = await connection.earlyData()
                if outcome != .accepted { Log.say("0-RTT: \(outcome)") }
            } else {
                async let change: Void = self.change(connection)
                try await self.fetch(requests, over: connection)
                try await change
            }
            if let tickets { try await Self.untilThereIsOne(in: tickets) }
        } catch {
            await connection.close(code: 1, reason: "the client gave up")
            throw error
        }
        await connection.close(code: self.fileProtocol.noError)
    }

    /// Tries one address of the server after the other.
    private func connect(
        to server: Endpoint, connector: QUICConnector, early: [Request]
    ) async throws -> Connection {
        let replayable = early.map { ReplayableStream(self.request($0)) }
        var failure: any Error = TransportError(.unreachable, message: "\(server.host) has no address")
        for address in try addresses(of: server) {
            let attempt = connector.connect(
                to: address, serverName: server.host, replayable: replayable,
                on: MultiThreadedEventLoopGroup.singleton.next())
            do {
                return Connection(adopting: try await attempt.established.get(), replayable: replayable)
            } catch {
                failure = error
            }
        }
        throw failure
    }

    /// What a case wants to happen while files are under way.
    private func change(_ connection: Connection) async throws {
        guard self.testCase == .keyupdate || self.testCase == .connectionMigration else { return }
        for await event in connection.events where event.kind == .handshakeConfirmed {
            if self.testCase == .keyupdate {
                try await connection.updateKeys()
            } else {
                try await Self.migrate(connection)
            }
            return
        }
    }

    private static func migrate(_ connection: Connection) async throws {
        do {
            _ = try await connection.migrate()
        } catch let error as TransportError where error.code == .misuse {
            Log.say("can't migrate: \(error)")
            throw ExitCode(127)
        }
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
            try await stream.finish(self.request(request))
            try await self.store(stream, as: destination)
        }
    }

    /// The same for requests that left with the first packets of the connection.
    private func fetchEarly(_ requests: [Request], over connection: Connection) async throws {
        let streams = try await connection.replayableStreams()
        try await self.each(Array(zip(streams, requests))) { stream, request in
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
        let download = try destination.map { try Download($0) }
        var answer = Answer(self.fileProtocol)
        while let bytes = try await stream.read() {
            for piece in try answer.receive(bytes) { try download?.write(piece) }
        }
        try answer.finish()
        try download?.complete()
    }

    private func request(_ request: Request) -> ByteBuffer {
        self.fileProtocol.request(for: request.path, authority: "\(request.server)")
    }
}
