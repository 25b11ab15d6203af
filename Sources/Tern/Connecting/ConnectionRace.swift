// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport

/// The race between carriers and addresses, as a pure machine: facts in, decisions out. It reads no clock and opens no socket.
///
/// Each carrier is a lane with its own queue of addresses (IPv6 first, then in turn). A lane opens at a moment that the policy
/// sets; in an open lane the next address is tried when the one before failed or after the attempt delay.
package struct ConnectionRace {
    /// One handshake: the `index`-th of the report's attempts.
    package typealias AttemptID = Int

    package enum Action {
        case start(AttemptID, Carrier, SocketAddress)
        case cancel(AttemptID)
        case finish(ConnectionReport, winner: AttemptID)
        case fail(TransportError)
    }

    /// How far name resolution came, for each address family.
    private enum Resolution {
        case pending
        case done
    }

    private struct Lane {
        let carrier: Carrier
        /// `nil` until something opens it.
        var opensAt: NIODeadline?
        var nextAddress = 0
        var lastStart: NIODeadline?
        var running: Set<AttemptID> = []
        var startedCount = 0
    }

    private let policy: ConnectionPolicy
    private let began: NIODeadline
    private let description: String
    private var lanes: [Lane]
    private var resolution: [AddressFamily: Resolution] = [.v6: .pending, .v4: .pending]
    private var addresses: [AddressFamily: [SocketAddress]] = [:]
    private var resolutionError: TransportError?
    /// The order in which addresses are tried; it grows while names are resolved.
    private var order: [SocketAddress] = []
    private var waitsForIPv6Until: NIODeadline?
    private var attempts: [ConnectionReport.Attempt] = []
    private var starts: [NIODeadline] = []
    private var isOver = false

    package enum AddressFamily: Hashable, CaseIterable {
        case v6
        case v4
    }

    /// - Parameter target: what errors call the place that could not be reached.
    package init(policy: ConnectionPolicy, target: String, now: NIODeadline) {
        self.policy = policy
        self.began = now
        self.description = target
        switch policy.mode {
        case .quicOnly: self.lanes = [Lane(carrier: .quic)]
        case .tcpOnly: self.lanes = [Lane(carrier: .tls)]
        case .preferQUIC, .race: self.lanes = [Lane(carrier: .quic), Lane(carrier: .tls)]
        }
    }

    // MARK: Facts

    package mutating func addressesResolved(
        _ found: [SocketAddress], family: AddressFamily, at now: NIODeadline
    ) -> [Action] {
        self.resolution[family] = .done
        self.addresses[family] = found
        return self.decide(at: now)
    }

    package mutating func resolutionFailed(
        _ error: TransportError, family: AddressFamily, at now: NIODeadline
    ) -> [Action] {
        self.resolution[family] = .done
        self.resolutionError = error
        return self.decide(at: now)
    }

    package mutating func attemptHeard(_ id: AttemptID, at now: NIODeadline) -> [Action] {
        self.attempts[id].heardAfter = now - self.began
        return self.decide(at: now)
    }

    package mutating func attemptFailed(_ id: AttemptID, _ error: TransportError, at now: NIODeadline) -> [Action] {
        guard self.attempts[id].endedAfter == nil else { return [] }
        self.attempts[id].endedAfter = now - self.began
        self.attempts[id].error = error
        for index in self.lanes.indices { self.lanes[index].running.remove(id) }
        return self.decide(at: now)
    }

    package mutating func attemptSucceeded(_ id: AttemptID, at now: NIODeadline) -> [Action] {
        guard !self.isOver else { return [.cancel(id)] }
        self.isOver = true
        self.attempts[id].endedAfter = now - self.began
        let losers = self.lanes.flatMap(\.running).filter { $0 != id }.sorted()
        for loser in losers { self.attempts[loser].endedAfter = now - self.began }
        let report = ConnectionReport(
            carrier: self.attempts[id].carrier, reason: self.reason(for: self.attempts[id].carrier),
            address: self.attempts[id].address, handshakeDuration: now - self.starts[id],
            totalDuration: now - self.began, attempts: self.attempts)
        return losers.map { .cancel($0) } + [.finish(report, winner: id)]
    }

    package mutating func deadlineReached(at now: NIODeadline) -> [Action] {
        self.decide(at: now)
    }

    /// The caller gave up.
    package mutating func abandoned(at now: NIODeadline) -> [Action] {
        self.fail(with: TransportError(.cancelled, message: "connecting to \(self.description) was cancelled"))
    }

    /// When ``deadlineReached(at:)`` wants to be called if no other fact comes first.
    package func nextDeadline(after now: NIODeadline) -> NIODeadline? {
        guard !self.isOver else { return nil }
        var candidates = [self.began + self.policy.timeout]
        if self.order.isEmpty, let waitsUntil = self.waitsForIPv6Until { candidates.append(waitsUntil) }
        for lane in self.lanes where lane.nextAddress < self.order.count {
            if let lastStart = lane.lastStart { candidates.append(lastStart + self.policy.attemptDelay) }
        }
        candidates += self.silenceDeadlines()
        return candidates.filter { $0 > now }.min()
    }

    // MARK: Decisions

    private mutating func decide(at now: NIODeadline) -> [Action] {
        guard !self.isOver else { return [] }
        if now - self.began >= self.policy.timeout {
            return self.fail(with: self.summary(.timedOut, "no handshake finished in time"))
        }
        self.arrangeAddresses(at: now)
        let isResolved = self.resolution.values.allSatisfy { $0 == .done }
        if self.order.isEmpty {
            guard isResolved else { return [] }
            return self.fail(
                with: self.resolutionError
                    ?? TransportError(.unreachable, message: "\(self.description) has no address", isRetrySafe: true))
        }
        self.openLanes(at: now)
        let starts = self.startAttempts(at: now)
        let isExhausted = self.lanes.allSatisfy { $0.running.isEmpty && $0.nextAddress >= self.order.count }
        if starts.isEmpty, isResolved, isExhausted {
            return self.fail(with: self.summary(nil, "every attempt failed"))
        }
        return starts
    }

    /// IPv6 and IPv4 in turn, IPv6 first. IPv4 alone waits for the resolution delay; what is resolved later joins behind what was
    /// tried already.
    private mutating func arrangeAddresses(at now: NIODeadline) {
        let first = self.addresses[.v6, default: []]
        let second = self.addresses[.v4, default: []]
        if self.resolution[.v6] == .pending {
            guard !second.isEmpty else { return }
            let waitsUntil = self.waitsForIPv6Until ?? now + self.policy.resolutionDelay
            self.waitsForIPv6Until = waitsUntil
            guard now >= waitsUntil else { return }
        }
        guard first.count + second.count > self.order.count else { return }
        let tried = self.order.prefix(self.lanes.map(\.nextAddress).max() ?? 0)
        let (first6, then4) = (first.filter { !tried.contains($0) }, second.filter { !tried.contains($0) })
        var order = Array(tried)
        for index in 0..<max(first6.count, then4.count) {
            if index < first6.count { order.append(first6[index]) }
            if index < then4.count { order.append(then4[index]) }
        }
        self.order = order
    }

    private mutating func openLanes(at now: NIODeadline) {
        for index in self.lanes.indices where self.lanes[index].opensAt == nil {
            if index == 0 || self.policy.mode == .race {
                self.lanes[index].opensAt = now
            } else {
                self.lanes[index].opensAt = self.tcpOpening(at: now)
            }
        }
        // What was planned for later may come earlier: silence, or a failure of QUIC.
        if self.policy.mode == .preferQUIC, self.lanes.count == 2, self.lanes[1].startedCount == 0 {
            self.lanes[1].opensAt = self.tcpOpening(at: now)
        }
    }

    private func tcpOpening(at now: NIODeadline) -> NIODeadline {
        let quic = self.attempts.filter { $0.carrier == .quic }
        if quic.contains(where: { $0.error != nil }) { return now }
        let began = self.lanes[0].opensAt ?? now
        let planned = began + self.policy.tcpDelay
        let silent = began + self.policy.silentTCPDelay
        guard !quic.contains(where: { $0.heardAfter != nil }) else { return planned }
        return min(planned, silent)
    }

    private func silenceDeadlines() -> [NIODeadline] {
        guard self.policy.mode == .preferQUIC, self.lanes.count == 2, self.lanes[1].startedCount == 0,
            let began = self.lanes[0].opensAt
        else { return [] }
        let wasHeard = self.attempts.contains { $0.carrier == .quic && $0.heardAfter != nil }
        return (wasHeard ? [] : [began + self.policy.silentTCPDelay]) + [began + self.policy.tcpDelay]
    }

    private mutating func startAttempts(at now: NIODeadline) -> [Action] {
        var actions: [Action] = []
        for index in self.lanes.indices {
            let lane = self.lanes[index]
            guard lane.nextAddress < self.order.count, let opensAt = lane.opensAt, now >= opensAt else { continue }
            if !lane.running.isEmpty, let lastStart = lane.lastStart, now < lastStart + self.policy.attemptDelay {
                continue
            }
            let id = self.attempts.count
            let address = self.order[lane.nextAddress]
            self.attempts.append(.init(carrier: lane.carrier, address: address, startedAfter: now - self.began))
            self.starts.append(now)
            self.lanes[index].nextAddress += 1
            self.lanes[index].startedCount += 1
            self.lanes[index].lastStart = now
            self.lanes[index].running.insert(id)
            actions.append(.start(id, lane.carrier, address))
        }
        return actions
    }

    private mutating func fail(with error: TransportError) -> [Action] {
        guard !self.isOver else { return [] }
        self.isOver = true
        return self.lanes.flatMap(\.running).sorted().map { .cancel($0) } + [.fail(error)]
    }

    private func reason(for winner: Carrier) -> ConnectionReport.Reason {
        guard self.lanes.count > 1 else { return .onlyChoice }
        guard winner != .quic else { return .quicFirst }
        let quic = self.attempts.filter { $0.carrier == .quic }
        if quic.contains(where: { $0.error != nil }) { return .quicFailed }
        return quic.contains(where: { $0.heardAfter != nil }) ? .tcpFaster : .udpSilent
    }

    /// One error that says what every attempt met. Its code is that of the most telling attempt: a peer that answered and was
    /// refused says more than one that did not answer.
    private func summary(_ code: TransportError.Code?, _ what: String) -> TransportError {
        let ranking: [TransportError.Code] = [
            .certificateRejected, .handshakeFailed, .application, .transport, .connectionRefused, .unreachable,
            .timedOut,
        ]
        let errors = self.attempts.compactMap(\.error)
        let telling = ranking.lazy.compactMap { code in errors.first { $0.code == code } }.first ?? errors.first
        let each = self.attempts.map { attempt in
            let outcome =
                attempt.error.map { $0.description }
                ?? (attempt.heardAfter == nil ? "no answer" : "unfinished handshake")
            return "\(attempt.carrier) to \(attempt.address.hostAndPort): \(outcome)"
        }
        return TransportError(
            code ?? telling?.code ?? .unreachable,
            message: "could not connect to \(self.description): \(what); \(each.joined(separator: "; "))",
            wireCode: code == nil ? telling?.wireCode : nil, initiator: telling?.initiator ?? .local, isRetrySafe: true,
            cause: telling?.cause)
    }
}
