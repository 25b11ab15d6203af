// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Notices whether a connection over QUIC dies young because nothing comes through any more, and tells the connector's memory.
///
/// **Isolation.** Everything mutable belongs to the connection's event loop, which makes it `Sendable`.
final class YouthWatch: ConnectionObserver, @unchecked Sendable {
    private let others: (any ConnectionObserver)?
    private let endpoint: Endpoint
    private let memory: CarrierMemoryBox
    private weak var source: (any ConnectionActivitySource)?
    private var eventLoop: (any EventLoop)?
    private var began: NIODeadline = .now()
    private var silence = Silence()
    /// The silence that the memory knows of.
    private var told: NIODeadline?
    private var timer: RepeatedTask?

    /// - Parameter others: who hears of everything, too.
    init(over others: (any ConnectionObserver)?, endpoint: Endpoint, memory: CarrierMemoryBox) {
        self.others = others
        self.endpoint = endpoint
        self.memory = memory
    }

    /// A silence is as long as this, give or take.
    private static let interval = TimeAmount.milliseconds(500)

    func connectionStarted(_ connection: any LoopConnection, source: any ConnectionActivitySource) {
        self.others?.connectionStarted(connection, source: source)
        self.source = source
        self.eventLoop = connection.eventLoop
        self.began = connection.eventLoop.now
        self.silence.observed(source.activity().statistics, at: self.began)
        self.timer = connection.eventLoop.scheduleRepeatedTask(
            initialDelay: Self.interval, delay: Self.interval
        ) { [weak self] task in
            guard let self, let now = self.eventLoop?.now else { return task.cancel() }
            guard let source = self.source else {
                task.cancel()
                return self.tellSilence(since: nil)
            }
            self.silence.observed(source.activity().statistics, at: now)
            guard now - self.began >= self.memory.youngAge else { return self.tellSilence(since: self.silence.began) }
            task.cancel()
            self.tellSilence(since: nil)
            // What is silent now may be dead.
            if !self.silence.isLong(at: now) { self.memory.quicGrewOld(at: self.endpoint) }
        }
    }

    private func tellSilence(since began: NIODeadline?) {
        guard began != self.told else { return }
        self.told = began
        self.memory.quicIsSilent(ObjectIdentifier(self), at: self.endpoint, since: began)
    }

    func connectionEventOccurred(_ event: ConnectionEvent) {
        self.others?.connectionEventOccurred(event)
    }

    func connectionEnded(_ reason: TransportError, activity: ConnectionActivity) {
        self.timer?.cancel()
        let now = self.eventLoop?.now ?? .now()
        self.silence.observed(activity.statistics, at: now)
        if self.silence.explains(reason, at: now) {
            self.memory.quicDied(at: self.endpoint, age: now - self.began, now: now)
        }
        self.tellSilence(since: nil)
        self.others?.connectionEnded(reason, activity: activity)
    }
}

/// Whether a peer answers what it is sent, as far as the counters of a connection tell. A pure machine; it reads no clock.
struct Silence {
    private var bytesReceived: UInt64?
    private var bytesSentThen: UInt64 = 0
    /// Since when bytes go out and none come in.
    private(set) var began: NIODeadline?

    /// An application that gives a connection up by itself does so because of a silence if it lasted this long. The client of the
    /// message server gives up 1.5 s after a ping, which may be all that it sent, and is noticed an interval of the watch late.
    static let telling = TimeAmount.milliseconds(900)

    mutating func observed(_ statistics: ConnectionStatistics, at now: NIODeadline) {
        if statistics.bytesReceived != self.bytesReceived {
            self.bytesReceived = statistics.bytesReceived
            self.bytesSentThen = statistics.bytesSent
            self.began = nil
        } else if statistics.bytesSent > self.bytesSentThen, self.began == nil {
            self.began = now
        }
    }

    func isLong(at now: NIODeadline) -> Bool {
        guard let began else { return false }
        return now - began >= Self.telling
    }

    /// Whether the connection ended because nothing came through: the carrier says so, or this end gave up in a long silence.
    func explains(_ reason: TransportError, at now: NIODeadline) -> Bool {
        guard reason.initiator == .local else { return false }
        switch reason.code {
        // A server that is gone is silent, too; then TCP fails at once, and QUIC follows.
        case .idleTimeout, .carrierLost: return true
        case .application, .cancelled: return self.isLong(at: now)
        default: return false
        }
    }
}
