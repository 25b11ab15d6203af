// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CoreMetrics
internal import Logging
internal import NIOCore
internal import Synchronization
internal import TernTransport

/// Where the life of connections is told: a logger, and metrics if somebody collects them.
struct TransportObservation: Sendable {
    /// Counters of a connection that lives long move this often.
    static let interval = TimeAmount.seconds(10)
    private static let connectionNumbers = Atomic<UInt64>(0)

    let logger: Logger
    let metrics: TransportMetrics?

    /// - Returns: `nil` when nobody would hear of the connection.
    func recorder() -> ConnectionRecorder? {
        guard self.metrics != nil || self.logger.logLevel <= .warning else { return nil }
        let number = Self.connectionNumbers.add(1, ordering: .relaxed).newValue
        return ConnectionRecorder(number: number, logger: self.logger, metrics: self.metrics)
    }

    func raceEnded(_ outcome: Result<ConnectionReport, any Error>, at endpoint: Endpoint) {
        self.metrics?.raceEnded(outcome)
        switch outcome {
        case .success(let report):
            self.logger.debug(
                "connected",
                metadata: [
                    "server": "\(endpoint)", "remote": "\(report.address.hostAndPort)", "carrier": "\(report.carrier)",
                    "reason": "\(report.reason.rawValue)",
                    "handshake": "\(ConnectionReport.milliseconds(report.handshakeDuration))",
                ])
        case .failure(let error):
            self.logger.debug(
                "could not connect", metadata: ["server": "\(endpoint)", "error": "\("\(error)".printable())"])
        }
    }
}

/// Records the life of one connection, in metrics and in the log.
///
/// **Isolation.** Everything mutable belongs to the connection's event loop, which makes it `Sendable`.
final class ConnectionRecorder: ConnectionObserver, @unchecked Sendable {
    private let number: UInt64
    private var logger: Logger
    /// The logger's messages say which connection they are about; not before there is one, because most never say a word.
    private var isNamed = false
    private var carrier: Carrier?
    private var remoteAddress: SocketAddress?
    private let metrics: TransportMetrics?
    private let interval: TimeAmount

    private var began: NIODeadline = .now()
    private var eventLoop: (any EventLoop)?
    /// Only where metrics are collected.
    private var account: Account?

    /// What was recorded of the connection, and where more of it goes.
    private final class Account {
        weak var source: (any ConnectionActivitySource)?
        let instruments: TransportMetrics.Instruments
        var timer: RepeatedTask?
        private var recorded = ConnectionActivity()
        private var hasRecordedHandshake = false

        init(_ instruments: TransportMetrics.Instruments, of source: any ConnectionActivitySource) {
            self.instruments = instruments
            self.source = source
        }

        func record(_ activity: ConnectionActivity) {
            self.instruments.record(activity, since: self.recorded)
            self.recorded = activity
            if !self.hasRecordedHandshake, let duration = activity.statistics.handshakeDuration {
                self.hasRecordedHandshake = true
                self.instruments.handshake.recordNanoseconds(duration.nanoseconds)
            }
        }
    }

    init(
        number: UInt64, logger: Logger, metrics: TransportMetrics?,
        interval: TimeAmount = TransportObservation.interval
    ) {
        self.number = number
        self.logger = logger
        self.metrics = metrics
        self.interval = interval
    }

    func connectionStarted(_ connection: any LoopConnection, source: any ConnectionActivitySource) {
        self.eventLoop = connection.eventLoop
        self.began = connection.eventLoop.now
        self.carrier = connection.carrier
        self.remoteAddress = connection.remoteAddress
        self.log(
            .debug, "connection opened",
            metadata: [
                "role": connection.role == .client ? "client" : "server",
                "protocol": "\(connection.applicationProtocol)",
            ])
        guard let metrics else { return }
        let account = Account(metrics.instruments(for: connection.carrier, connection.role), of: source)
        self.account = account
        account.instruments.opened.increment()
        account.instruments.open.increment()
        account.record(source.activity())
        account.timer = connection.eventLoop.scheduleRepeatedTask(
            initialDelay: self.interval, delay: self.interval
        ) { [weak self] _ in
            guard let account = self?.account, let source = account.source else { return }
            account.record(source.activity())
        }
    }

    func connectionEventOccurred(_ event: ConnectionEvent) {
        self.log(.debug, "\(event.kind)", metadata: ["message": "\(event.message.printable())"])
        if let account { self.metrics?.eventOccurred(event.kind, in: account.instruments) }
    }

    func connectionEnded(_ reason: TransportError, activity: ConnectionActivity) {
        self.account?.timer?.cancel()
        let lasted = (self.eventLoop?.now ?? .now()) - self.began
        if let account {
            account.record(activity)
            account.instruments.open.decrement()
            account.instruments.duration.recordNanoseconds(lasted.nanoseconds)
            self.metrics?.connectionClosed(reason, in: account.instruments)
            self.account = nil
        }
        self.log(
            Self.level(of: reason), "connection closed",
            metadata: [
                "reason": "\(reason.description.printable())", "lasted": "\(ConnectionReport.milliseconds(lasted))",
                "bytesSent": "\(activity.statistics.bytesSent)",
                "bytesReceived": "\(activity.statistics.bytesReceived)",
            ])
    }

    private func log(
        _ level: Logger.Level, _ message: @autoclosure () -> Logger.Message,
        metadata: @autoclosure () -> Logger.Metadata
    ) {
        guard level >= self.logger.logLevel else { return }
        self.name()
        self.logger.log(level: level, message(), metadata: metadata())
    }

    private func name() {
        guard !self.isNamed else { return }
        self.isNamed = true
        self.logger[metadataKey: "connection"] = "\(self.number)"
        if let carrier { self.logger[metadataKey: "carrier"] = "\(carrier)" }
        if let remoteAddress { self.logger[metadataKey: "remote"] = "\(remoteAddress.hostAndPort)" }
    }

    /// What this program did wrong is for its operator; what a peer or a network does is their ordinary life.
    private static func level(of reason: TransportError) -> Logger.Level {
        guard reason.initiator == .local else { return .debug }
        switch (reason.code, reason.wireCode) {
        case (.misuse, _), (.transport, TransportErrorCode.internalError?),
            (.application, TransportErrorCode.applicationError?):
            return .warning
        default:
            return .debug
        }
    }
}
