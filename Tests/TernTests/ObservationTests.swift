// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CoreMetrics
import Logging
import MetricsTestKit
import NIOCore
import NIOEmbedded
import NIOPosix
import Synchronization
import TernTesting
import TernTransport
import TestTimeLimits
import Testing

@testable import Tern

@Suite("Metrics and logs", .untilItHangs)
struct ObservationTests {
    private let metrics = TestMetrics()
    private let log = RecordedLog()

    @Test(arguments: [ConnectionPolicy.Mode.quicOnly, .tcpOnly])
    func bothEndsOfARealConnectionAreCounted(mode: ConnectionPolicy.Mode) async throws {
        let made = try TLSIdentity.selfSigned()
        let listener = try await Listener.bind(
            to: Endpoint(host: "127.0.0.1", port: 0), applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: made.identity), logger: self.log.logger(.debug),
            metricsFactory: self.metrics)
        let server = Task {
            await listener.run { connection in
                guard let stream = try? await connection.inboundStreams.first(where: { _ in true }) else { return }
                while (try? await stream.read()) ?? nil != nil {}
                try? await stream.finish()
                _ = await connection.closed()
            }
        }
        let connector = try Connector(
            applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM)),
            policy: ConnectionPolicy(mode), logger: self.log.logger(.debug), metricsFactory: self.metrics)
        let endpoint = try Endpoint(host: "127.0.0.1", port: #require(listener.quicAddress.port))
        try await connector.withConnection(to: endpoint) { connection in
            let stream = try await connection.openStream()
            try await stream.finish(ByteBuffer(repeating: 1, count: 10_000))
            #expect(try await stream.read() == nil)
        }
        await listener.stopAccepting()
        await server.value
        await listener.close()

        let carrier = mode == .quicOnly ? "quic" : "tls"
        for role in ["client", "server"] {
            let dimensions = [("carrier", carrier), ("role", role)]
            func total(_ label: String, _ more: [(String, String)] = []) throws -> Int64 {
                try self.metrics.expectCounter(label, dimensions + more).totalValue
            }
            #expect(try total("tern_connections_opened") == 1)
            #expect(try self.metrics.expectMeter("tern_connections_open", dimensions).lastValue == 0)
            let initiator = role == "client" ? "local" : "peer"
            #expect(try total("tern_connections_closed", [("reason", "clean"), ("initiator", initiator)]) == 1)
            #expect(try total("tern_streams_opened", [("initiator", initiator)]) == 1)
            #expect(try total(role == "client" ? "tern_bytes_sent" : "tern_bytes_received") >= 10_000)
            #expect(try self.metrics.expectTimer("tern_handshake_duration", dimensions).values.count == 1)
            #expect(try self.metrics.expectTimer("tern_connection_duration", dimensions).values.count == 1)
        }
        #expect(
            try self.metrics.expectCounter("tern_races", [("carrier", carrier), ("outcome", "only-choice")]).totalValue
                == 1)
        let opened = self.log.entries.filter { $0.message == "connection opened" }
        #expect(opened.count == 2)
        #expect(opened.allSatisfy { $0.metadata["carrier"] == "\(carrier)" && $0.metadata["remote"] != nil })
        #expect(Set(opened.compactMap { $0.metadata["connection"]?.description }).count == 2, "each has its number")
        #expect(self.log.entries.filter { $0.message == "connection closed" }.count == 2)
        #expect(self.log.entries.allSatisfy { $0.level == .debug })
    }

    @Test func countersMoveWhileAConnectionLives() throws {
        let loop = EmbeddedEventLoop()
        let pair = InMemoryTransport.makePair(clientLoop: loop, serverLoop: loop)
        let source = ScriptedActivity()
        let recorder = self.recorder(.error)
        recorder.connectionStarted(pair.client, source: source)
        source.value.statistics.bytesSent = 100
        source.value.streamsOpened = 2
        source.value.statistics.smoothedRoundTripTime = .milliseconds(5)
        loop.advanceTime(by: .seconds(9))
        #expect(self.metrics.counterTotal(label: "tern_bytes_sent") == 0)
        loop.advanceTime(by: .seconds(1))
        #expect(self.metrics.counterTotal(label: "tern_bytes_sent") == 100)
        #expect(self.metrics.counterTotal(label: "tern_streams_opened") == 2)
        #expect(try self.metrics.expectTimer("tern_round_trip_time", Self.dimensions).lastValue == 5_000_000)
        source.value.statistics.bytesSent = 130
        loop.advanceTime(by: .seconds(10))
        #expect(self.metrics.counterTotal(label: "tern_bytes_sent") == 130)
        #expect(try self.metrics.expectMeter("tern_connections_open", Self.dimensions).lastValue == 1)

        source.value.statistics.bytesSent = 131
        source.value.statistics.datagramsDropped = 3
        recorder.connectionEnded(TransportError(.idleTimeout, message: ""), activity: source.value)
        #expect(self.metrics.counterTotal(label: "tern_bytes_sent") == 131)
        #expect(self.metrics.counterTotal(label: "tern_datagrams_dropped") == 3)
        let closed = Self.dimensions + [("reason", "idleTimeout"), ("initiator", "local")]
        #expect(try self.metrics.expectCounter("tern_connections_closed", closed).totalValue == 1)
        source.value.statistics.bytesSent = 999
        loop.advanceTime(by: .seconds(60))
        #expect(self.metrics.counterTotal(label: "tern_bytes_sent") == 131, "the timer ended with the connection")
    }

    @Test func eventsAreCountedByKind() throws {
        let recorder = self.recorder(.debug)
        let loop = EmbeddedEventLoop()
        let pair = InMemoryTransport.makePair(clientLoop: loop, serverLoop: loop)
        let source = ScriptedActivity()
        recorder.connectionStarted(pair.client, source: source)
        recorder.connectionEventOccurred(ConnectionEvent(.pathChanged, message: "192.0.2.1 to 192.0.2.2"))
        recorder.connectionEventOccurred(ConnectionEvent(.pathChanged, message: "and back"))
        let dimensions = Self.dimensions + [("event", "path-changed")]
        #expect(try self.metrics.expectCounter("tern_connection_events", dimensions).totalValue == 2)
        #expect(self.log.entries.filter { $0.message == "path-changed" }.count == 2)
        recorder.connectionEnded(TransportError(.application, message: "", wireCode: 0), activity: source.value)
    }

    @Test func anOperatorIsWarnedOfOurFaultsOnly() {
        let faults = [
            TransportError(.transport, message: "", wireCode: TransportErrorCode.internalError),
            TransportError(.misuse, message: ""),
        ]
        let life = [
            TransportError(.transport, message: "", wireCode: TransportErrorCode.internalError, initiator: .peer),
            TransportError(.transport, message: "", wireCode: TransportErrorCode.protocolViolation),
            TransportError(.application, message: "", wireCode: 0), TransportError(.idleTimeout, message: ""),
            TransportError(.carrierLost, message: "", initiator: .peer),
        ]
        for (level, reasons) in [(Logger.Level.warning, faults), (.debug, life)] {
            for reason in reasons {
                self.recorder(.trace).connectionEnded(reason, activity: ConnectionActivity())
                #expect(self.log.entries.last?.level == level, "\(reason)")
            }
        }
    }

    @Test func aPeerCannotWriteLinesOfTheLog() throws {
        let reason = TransportError(
            .application, message: "bye\n2026-01-01 error: all is lost\u{1b}[2J\u{202e}\u{2028}\u{200b}", wireCode: 3,
            initiator: .peer)
        self.recorder(.debug).connectionEnded(reason, activity: ConnectionActivity())
        let text = try #require(self.log.entries.last?.metadata["reason"]?.description)
        #expect(text.contains("all is lost"))
        let forbidden: Set<Unicode.Scalar> = ["\n", "\u{1b}", "\u{202e}", "\u{2028}", "\u{200b}"]
        #expect(!text.unicodeScalars.contains(where: forbidden.contains))
        let long = TransportError(.application, message: String(repeating: "x", count: 60_000), initiator: .peer)
        self.recorder(.debug).connectionEnded(long, activity: ConnectionActivity())
        #expect(try #require(self.log.entries.last?.metadata["reason"]).description.count < 1_000)
    }

    @Test func nobodyWhoListensCostsNothing() {
        let silent = TransportObservation(
            logger: self.log.logger(.critical), metrics: TransportMetrics(factory: NOOPMetricsHandler.instance))
        #expect(silent.recorder() == nil)
        #expect(TransportMetrics(factory: NOOPMetricsHandler.instance) == nil)
        #expect(TransportObservation(logger: self.log.logger(.warning), metrics: nil).recorder() != nil)
    }

    private static let dimensions = [("carrier", "memory"), ("role", "client")]

    private func recorder(_ level: Logger.Level) -> ConnectionRecorder {
        ConnectionRecorder(
            number: 1, logger: self.log.logger(level), metrics: TransportMetrics(factory: self.metrics))
    }
}

/// `@unchecked Sendable`: used on an embedded event loop, that is, by one thread.
private final class ScriptedActivity: ConnectionActivitySource, @unchecked Sendable {
    var value = ConnectionActivity()
    func activity() -> ConnectionActivity { self.value }
}

/// Keeps what is logged.
private final class RecordedLog: Sendable {
    struct Entry: Sendable {
        let level: Logger.Level
        let message: String
        let metadata: Logger.Metadata
    }

    private let recorded = Mutex<[Entry]>([])
    var entries: [Entry] { self.recorded.withLock { $0 } }

    func logger(_ level: Logger.Level) -> Logger {
        var logger = Logger(label: "test") { _ in Handler(log: self) }
        logger.logLevel = level
        return logger
    }

    private struct Handler: LogHandler {
        let log: RecordedLog
        var logLevel = Logger.Level.debug
        var metadata: Logger.Metadata = [:]

        init(log: RecordedLog) { self.log = log }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let entry = Entry(
                level: event.level, message: event.message.description,
                metadata: self.metadata.merging(event.metadata ?? [:]) { _, new in new })
            self.log.recorded.withLock { $0.append(entry) }
        }
    }
}
