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
        /// When the first address of each family was tried.
        var familyStarts: [AddressFamily: NIODeadline] = [:]
        var hasStarted: Bool { self.lastStart != nil }
    }

    private let policy: ConnectionPolicy
    private let began: NIODeadline
    private let description: String
    /// QUIC died young at this server: TCP is first, and QUIC second.
    private let distrustsQUIC: Bool
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

    package enum AddressFamily: Hashable, Sendable, CaseIterable {
        case v6
        case v4

        init(_ address: SocketAddress) {
            self = address.protocol == .inet6 ? .v6 : .v4
        }
    }

    /// - Parameters:
    ///   - target: what errors call the place that could not be reached.
    ///   - distrustsQUIC: whether TCP comes first, where the policy has both.
    package init(policy: ConnectionPolicy, target: String, distrustsQUIC: Bool = false, now: NIODeadline) {
        self.policy = policy
        self.began = now
        self.description = target
        self.distrustsQUIC = distrustsQUIC && (policy.mode == .preferQUIC || policy.mode == .race)
        switch policy.mode {
        case .preferQUIC where distrustsQUIC, .race where distrustsQUIC:
            self.lanes = [Lane(carrier: .tls), Lane(carrier: .quic)]
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
    ///
    /// It may be over already, when it passed since the last decision: then at once. Whatever it stands for is decided on at the
    /// next call, so there is no second one like it.
    package func nextDeadline() -> NIODeadline? {
        guard !self.isOver else { return nil }
        var candidates = [self.began + self.policy.timeout]
        if self.order.isEmpty, let waitsUntil = self.waitsForIPv6Until { candidates.append(waitsUntil) }
        guard !self.order.isEmpty else { return candidates.min() }
        for lane in self.lanes where lane.nextAddress < self.order.count {
            if let next = self.nextStart(in: lane) { candidates.append(next) }
        }
        if self.lanes.count == 2, !self.lanes[1].hasStarted, let opening = self.secondOpening {
            candidates.append(opening)
        }
        return candidates.min()
    }

    // MARK: Decisions

    private mutating func decide(at now: NIODeadline) -> [Action] {
        guard !self.isOver else { return [] }
        if now - self.began >= self.policy.timeout {
            let isResolving = self.order.isEmpty && self.resolution.values.contains { $0 == .pending }
            return self.fail(
                with: self.summary(
                    .timedOut,
                    isResolving
                        ? "its name did not resolve within \(self.policy.timeout.inWords)"
                        : "no handshake finished within \(self.policy.timeout.inWords)"))
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
            if index == 0 || (self.policy.mode == .race && !self.distrustsQUIC) { self.lanes[index].opensAt = now }
        }
        guard self.lanes.count == 2, !self.lanes[1].hasStarted, let opening = self.secondOpening else { return }
        // What was planned for later may come earlier: silence, or a failure of the first.
        self.lanes[1].opensAt = self.hasFirstFailed ? now : opening
    }

    /// The carrier that goes first met a peer that refused it, or has no address left to try. One address that is refused is not
    /// enough: another family may lead to the server.
    private var hasFirstFailed: Bool {
        let first = self.lanes[0]
        if first.hasStarted, first.running.isEmpty, first.nextAddress >= self.order.count { return true }
        return self.attempts.contains { attempt in
            guard attempt.carrier == first.carrier, let error = attempt.error else { return false }
            return ![.connectionRefused, .unreachable, .timedOut, .carrierLost].contains(error.code)
        }
    }

    /// When the second carrier starts if the first does not fail; `nil` before the first is open.
    private var secondOpening: NIODeadline? {
        guard let began = self.lanes[0].opensAt else { return nil }
        if self.distrustsQUIC { return began + self.policy.distrustedQUICDelay }
        guard self.policy.mode == .preferQUIC else { return self.lanes[1].opensAt }
        let planned = began + self.policy.tcpDelay
        guard !self.wasHeardOverUDP else { return planned }
        var silent = began + self.policy.silentTCPDelay
        if self.familiesInOrder.count > 1 {
            // The other family has its chance before TCP takes over.
            let second = self.lanes[0].familyStarts.values.count > 1 ? self.lanes[0].familyStarts.values.max() : silent
            silent = max(silent, (second ?? silent) + self.policy.otherFamilyLead)
        }
        return min(planned, silent)
    }

    private var wasHeardOverUDP: Bool { self.attempts.contains { $0.carrier == .quic && $0.heardAfter != nil } }

    private var familiesInOrder: Set<AddressFamily> { Set(self.order.map(AddressFamily.init)) }

    /// When an open lane tries its next address if nothing happens; `nil` before its first.
    private func nextStart(in lane: Lane) -> NIODeadline? {
        guard let lastStart = lane.lastStart else { return nil }
        guard !lane.running.isEmpty else { return lastStart }
        let next = lastStart + self.policy.attemptDelay
        let isNew = lane.familyStarts[AddressFamily(self.order[lane.nextAddress])] == nil
        guard lane.carrier == .quic, self.policy.mode == .preferQUIC, !self.distrustsQUIC, isNew, !self.wasHeardOverUDP,
            let opensAt = lane.opensAt
        else { return next }
        return min(next, opensAt + self.policy.silentTCPDelay)
    }

    private mutating func startAttempts(at now: NIODeadline) -> [Action] {
        var actions: [Action] = []
        for index in self.lanes.indices {
            let lane = self.lanes[index]
            guard lane.nextAddress < self.order.count, let opensAt = lane.opensAt, now >= opensAt else { continue }
            if let next = self.nextStart(in: lane), now < next { continue }
            let id = self.attempts.count
            let address = self.order[lane.nextAddress]
            self.attempts.append(.init(carrier: lane.carrier, address: address, startedAfter: now - self.began))
            self.starts.append(now)
            self.lanes[index].nextAddress += 1
            self.lanes[index].lastStart = now
            let family = AddressFamily(address)
            if lane.familyStarts[family] == nil { self.lanes[index].familyStarts[family] = now }
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
        if self.distrustsQUIC { return .quicDistrusted }
        let quic = self.attempts.filter { $0.carrier == .quic }
        if quic.contains(where: { $0.heardAfter != nil && $0.error == nil }) { return .tcpFaster }
        if quic.contains(where: { $0.error != nil }) { return .quicFailed }
        return .udpSilent
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
            let address = attempt.address.hostAndPort
            return "\(attempt.carrier)\(outcome.contains(address) ? "" : " to \(address)"): \(outcome)"
        }
        return TransportError(
            code ?? telling?.code ?? .unreachable,
            message: "could not connect to \(self.description): \(([what] + each).joined(separator: "; "))",
            wireCode: code == nil ? telling?.wireCode : nil, initiator: telling?.initiator ?? .local, isRetrySafe: true,
            cause: telling?.cause)
    }
}
