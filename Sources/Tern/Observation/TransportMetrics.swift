// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import CoreMetrics
internal import NIOCore
internal import Synchronization
internal import TernTransport

/// The metrics of one connector or listener: what there is to record, under which names.
///
/// Nothing is recorded for each packet, datagram or stream: counters move when a connection ends and at intervals before.
package final class TransportMetrics: Sendable {
    /// The names, as operators see them. Stable: dashboards are built on them.
    package enum Name {
        package static let connectionsOpened = "tern_connections_opened"
        package static let connectionsClosed = "tern_connections_closed"
        package static let connectionsOpen = "tern_connections_open"
        package static let connectionDuration = "tern_connection_duration"
        package static let connectionEvents = "tern_connection_events"
        package static let handshakeDuration = "tern_handshake_duration"
        package static let roundTripTime = "tern_round_trip_time"
        package static let bytesSent = "tern_bytes_sent"
        package static let bytesReceived = "tern_bytes_received"
        package static let packetsLost = "tern_packets_lost"
        package static let datagramsSent = "tern_datagrams_sent"
        package static let datagramsReceived = "tern_datagrams_received"
        package static let datagramsDropped = "tern_datagrams_dropped"
        package static let streamsOpened = "tern_streams_opened"
        package static let races = "tern_races"
        package static let raceDuration = "tern_race_duration"
    }

    /// What the connections of one carrier share.
    struct Instruments: Sendable {
        let dimensions: [(String, String)]
        let opened: Counter
        let open: Meter
        let duration: CoreMetrics.Timer
        let handshake: CoreMetrics.Timer
        let roundTrip: CoreMetrics.Timer
        let bytesSent: Counter
        let bytesReceived: Counter
        let packetsLost: Counter
        let datagramsSent: Counter
        let datagramsReceived: Counter
        let datagramsDropped: Counter
        let streamsOpened: Counter
        let streamsAccepted: Counter
    }

    private struct Key: Hashable {
        let carrier: Carrier
        let role: ConnectionRole
    }

    private let factory: any MetricsFactory
    private let instruments = Mutex<[Key: Instruments]>([:])

    /// - Returns: `nil` when nobody collects metrics: then nothing is made and nothing recorded.
    package init?(factory: any MetricsFactory) {
        if factory is NOOPMetricsHandler { return nil }
        self.factory = factory
    }

    func instruments(for carrier: Carrier, _ role: ConnectionRole) -> Instruments {
        self.instruments.withLock { known in
            let key = Key(carrier: carrier, role: role)
            if let instruments = known[key] { return instruments }
            let made = self.makeInstruments([
                ("carrier", carrier.name), ("role", role == .client ? "client" : "server"),
            ])
            known[key] = made
            return made
        }
    }

    func connectionClosed(_ reason: TransportError, in instruments: Instruments) {
        let isClean = reason.code == .application && reason.wireCode == 0
        let dimensions = [
            ("reason", isClean ? "clean" : reason.code.description),
            ("initiator", reason.initiator == .local ? "local" : "peer"),
        ]
        Counter(
            label: Name.connectionsClosed, dimensions: instruments.dimensions + dimensions, factory: self.factory
        ).increment()
    }

    func eventOccurred(_ kind: ConnectionEvent.Kind, in instruments: Instruments) {
        Counter(
            label: Name.connectionEvents, dimensions: instruments.dimensions + [("event", kind.name)],
            factory: self.factory
        ).increment()
    }

    func raceEnded(_ outcome: Result<ConnectionReport, any Error>) {
        switch outcome {
        case .success(let report):
            let dimensions = [("carrier", report.carrier.name), ("outcome", report.reason.rawValue)]
            Counter(label: Name.races, dimensions: dimensions, factory: self.factory).increment()
            CoreMetrics.Timer(
                label: Name.raceDuration, dimensions: [("carrier", report.carrier.name)], factory: self.factory
            ).recordNanoseconds(report.totalDuration.nanoseconds)
        case .failure(let error):
            let code = (error as? TransportError)?.code ?? .cancelled
            Counter(
                label: Name.races, dimensions: [("carrier", "none"), ("outcome", code.description)],
                factory: self.factory
            ).increment()
        }
    }

    private func makeInstruments(_ dimensions: [(String, String)]) -> Instruments {
        func counter(_ label: String, _ more: [(String, String)] = []) -> Counter {
            Counter(label: label, dimensions: dimensions + more, factory: self.factory)
        }
        func timer(_ label: String) -> CoreMetrics.Timer {
            CoreMetrics.Timer(label: label, dimensions: dimensions, factory: self.factory)
        }
        return Instruments(
            dimensions: dimensions, opened: counter(Name.connectionsOpened),
            open: Meter(label: Name.connectionsOpen, dimensions: dimensions, factory: self.factory),
            duration: timer(Name.connectionDuration), handshake: timer(Name.handshakeDuration),
            roundTrip: timer(Name.roundTripTime), bytesSent: counter(Name.bytesSent),
            bytesReceived: counter(Name.bytesReceived), packetsLost: counter(Name.packetsLost),
            datagramsSent: counter(Name.datagramsSent), datagramsReceived: counter(Name.datagramsReceived),
            datagramsDropped: counter(Name.datagramsDropped),
            streamsOpened: counter(Name.streamsOpened, [("initiator", "local")]),
            streamsAccepted: counter(Name.streamsOpened, [("initiator", "peer")]))
    }
}

extension TransportMetrics.Instruments {
    /// Counts what happened between two looks at one connection.
    func record(_ now: ConnectionActivity, since before: ConnectionActivity) {
        func count(_ counter: Counter, _ path: KeyPath<ConnectionActivity, UInt64>) {
            // A carrier's counter never runs backwards; if one does, nothing is counted.
            let (now, before) = (now[keyPath: path], before[keyPath: path])
            if now > before { counter.increment(by: now - before) }
        }
        count(self.bytesSent, \.statistics.bytesSent)
        count(self.bytesReceived, \.statistics.bytesReceived)
        count(self.packetsLost, \.packetsLost)
        count(self.datagramsSent, \.statistics.datagramsSent)
        count(self.datagramsReceived, \.statistics.datagramsReceived)
        count(self.datagramsDropped, \.statistics.datagramsDropped)
        count(self.streamsOpened, \.streamsOpened)
        count(self.streamsAccepted, \.streamsAccepted)
        if let roundTrip = now.statistics.smoothedRoundTripTime {
            self.roundTrip.recordNanoseconds(roundTrip.nanoseconds)
        }
    }
}

extension ConnectionActivity {
    fileprivate var packetsLost: UInt64 { self.statistics.packetsLost ?? 0 }
}
