// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Executes the decisions of a ``ConnectionRace`` on one event loop.
///
/// **Isolation.** All state belongs to `eventLoop`, which makes it `Sendable`; `run()` and `abandon()` may be called from any thread.
final class RaceDriver: @unchecked Sendable {
    private let eventLoop: any EventLoop
    private let endpoint: Endpoint
    private let serverName: String
    private let carriers: [Carrier: any CarrierConnector]
    private let resolver: any AddressResolving
    /// Every attempt opens the same streams; what the losers sent of them are replays, which their type permits.
    private let replayable: [ReplayableStream]
    private let outcome: EventLoopPromise<(any LoopConnection, ConnectionReport)>
    private var race: ConnectionRace
    private var attempts: [ConnectionRace.AttemptID: ConnectionAttempt] = [:]
    private var connections: [ConnectionRace.AttemptID: any LoopConnection] = [:]
    private var timer: Scheduled<Void>?
    private var isAbandoned = false

    init(
        race: (policy: ConnectionPolicy, endpoint: Endpoint, distrustsQUIC: Bool),
        carriers: [Carrier: any CarrierConnector],
        serverName: String, replayable: [ReplayableStream], resolver: any AddressResolving, eventLoop: any EventLoop
    ) {
        self.eventLoop = eventLoop
        self.endpoint = race.endpoint
        self.serverName = serverName
        self.carriers = carriers
        self.resolver = resolver
        self.replayable = replayable
        self.outcome = eventLoop.makePromise()
        self.race = ConnectionRace(
            policy: race.policy, target: "\(race.endpoint)", distrustsQUIC: race.distrustsQUIC, now: eventLoop.now)
    }

    func run() -> EventLoopFuture<(any LoopConnection, ConnectionReport)> {
        self.eventLoop.execute {
            guard !self.isAbandoned else { return }
            self.armTimer()
            for family in ConnectionRace.AddressFamily.allCases { self.resolve(family) }
        }
        return self.outcome.futureResult
    }

    func abandon() {
        self.eventLoop.execute {
            self.isAbandoned = true
            self.execute(self.race.abandoned(at: self.eventLoop.now))
        }
    }

    private func resolve(_ family: ConnectionRace.AddressFamily) {
        self.resolver.resolve(self.endpoint, family: family, on: self.eventLoop).whenComplete { result in
            let now = self.eventLoop.now
            switch result {
            case .success(let addresses):
                self.execute(self.race.addressesResolved(addresses, family: family, at: now))
            case .failure(let error):
                self.execute(self.race.resolutionFailed(Self.transportError(error), family: family, at: now))
            }
        }
    }

    private func execute(_ actions: [ConnectionRace.Action]) {
        for action in actions {
            switch action {
            case .start(let id, let carrier, let address):
                self.start(id, carrier, address)
            case .cancel(let id):
                self.attempts.removeValue(forKey: id)?.cancel()
                self.connections[id]?.close(code: 0, reason: "")
            case .finish(let report, let winner):
                guard let connection = self.connections[winner] else { continue }
                self.outcome.succeed((connection, report))
            case .fail(var error):
                // A server may have acted on what came before a handshake that failed.
                if !self.replayable.isEmpty { error.isRetrySafe = false }
                self.outcome.fail(error.code == .cancelled ? CancellationError() : error)
            }
        }
        self.armTimer()
    }

    private func start(_ id: ConnectionRace.AttemptID, _ carrier: Carrier, _ address: SocketAddress) {
        guard let connector = self.carriers[carrier] else {
            let error = TransportError(.misuse, message: "there is no connector for \(carrier)")
            // On a later turn: the race must not hear a fact while its decisions are executed.
            return self.eventLoop.execute {
                self.execute(self.race.attemptFailed(id, error, at: self.eventLoop.now))
            }
        }
        let attempt = connector.connect(
            to: address, serverName: self.serverName, replayable: self.replayable, on: self.eventLoop)
        self.attempts[id] = attempt
        attempt.heardFromPeer.hop(to: self.eventLoop).whenSuccess {
            self.execute(self.race.attemptHeard(id, at: self.eventLoop.now))
        }
        attempt.established.hop(to: self.eventLoop).whenComplete { result in
            let now = self.eventLoop.now
            switch result {
            case .success(let connection):
                self.connections[id] = connection
                self.execute(self.race.attemptSucceeded(id, at: now))
            case .failure(let error):
                self.execute(self.race.attemptFailed(id, Self.transportError(error), at: now))
            }
        }
    }

    private func armTimer() {
        self.timer?.cancel()
        self.timer = nil
        guard let deadline = self.race.nextDeadline() else { return }
        self.timer = self.eventLoop.scheduleTask(deadline: deadline) {
            self.execute(self.race.deadlineReached(at: self.eventLoop.now))
        }
    }

    private static func transportError(_ error: any Error) -> TransportError {
        (error as? TransportError) ?? TransportError(.unreachable, message: "", isRetrySafe: true, cause: error)
    }
}
