// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Logging
import NIOCore
import ServiceLifecycle
import Tern
import TernMessages
import TernServer
import TernStore
import TernTLS
import UnixSignals

/// A server in a process of its own, of the parts of `tern serve`, over the data of one, with limits so low that a trial meets them all:
/// queues fill, channels are switched to pull, pages are small, senders are told to wait.
package struct NarrowServer {
    private let data: String
    private let grace: Duration
    private let durability: TernStore.Durability
    private let isStrict: Bool

    /// - Parameter arguments: those of `tern serve` that it knows, in pairs.
    package init(arguments: [String]) throws {
        var values: [String: String] = [:]
        for index in stride(from: 0, to: arguments.count - 1, by: 2) { values[arguments[index]] = arguments[index + 1] }
        guard let data = values["--data"], let grace = values["--drain"].flatMap({ Int($0) }) else {
            throw TrialError(
                "usage: serve --data DIR --drain SECONDS [--durability full|normal] [--limits narrow|strict]")
        }
        self.data = data
        self.grace = .seconds(grace)
        self.durability = values["--durability"] == "normal" ? .normal : .full
        self.isStrict = values["--limits"] == "strict"
    }

    private func makeConfiguration() throws -> ServerConfiguration {
        var configuration = ServerConfiguration(name: try Name("tern"))
        configuration.acceptsDevelopmentTokens = true
        configuration.durability = self.durability == .full ? .full : .normal
        configuration.maximumPageCount = 7
        configuration.maximumPageBytes = 8 << 10
        configuration.maximumRequestsInFlight = 3
        configuration.maximumRequestsPerUser = 2
        configuration.maximumPendingBytes = 8 << 10
        configuration.maximumResponseBytes = 32 << 10
        configuration.maximumQueuedPushBytes = 2 << 10
        configuration.maximumPushStreams = 2
        guard self.isStrict else { return configuration }
        configuration.messageRate = RateLimit(rate: 400, burst: 200)
        configuration.fanOutRate = RateLimit(rate: 400, burst: 50)
        return configuration
    }

    /// Serves until SIGTERM.
    package func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sigterm)
        let logger = Logger(label: "narrow") { StreamLogHandler.standardError(label: $0) }
        var options = SQLiteMessageStore.Options()
        options.durability = self.durability
        options.checkpointPages = 20
        let store = try SQLiteMessageStore(directory: self.data, options: options, logger: logger)
        let server = MessageServer(store: store, configuration: try self.makeConfiguration(), logger: logger)
        let listener = try await self.bind(logger)
        let ready = "{\"event\":\"ready\",\"quic\":\"\(listener.quicAddress.hostAndPort)\"}\n"
        try FileHandle.standardOutput.write(contentsOf: Data(ready.utf8))
        await withDiscardingTaskGroup { group in
            group.addTask { await listener.run { connection in await server.serve(connection) } }
            for await _ in signals { break }
            await listener.stopAccepting()
            await server.drain(grace: self.grace)
            await listener.close()
        }
        await store.close()
    }

    private func bind(_ logger: Logger) async throws -> Listener {
        let identity = try TLSIdentity(
            certificateFile: "\(self.data)/certificate.pem", keyFile: "\(self.data)/key.pem")
        // As "tern serve" derives them: whoever had a connection with the one is told by the other that it is gone.
        let secret = try Array(Data(contentsOf: URL(filePath: "\(self.data)/server.secret")))
        var quicServer = QUICServerOptions()
        quicServer.secret = try DerivedSecret.derive(from: secret, for: "tern serve quic", count: 32)
        var tls = TLSServerConfiguration(identity: identity)
        tls.tickets?.secret = try DerivedSecret.derive(from: secret, for: "tern serve tickets", count: 64)
        var limits = ConnectionLimits()
        (limits.connectionWindow, limits.streamWindow) = (64 << 10, 16 << 10)
        (limits.writeHighWatermark, limits.writeLowWatermark) = (2 << 10, 1 << 10)
        return try await Listener.bind(
            to: .loopback(), applicationProtocol: .messages, tls: tls, limits: limits, quicServer: quicServer,
            logger: logger)
    }
}
