// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
internal import TernMessages
internal import TernStore
internal import TernTransport

/// Who is connected, and who of them is interested in which channel.
final class Hub: Sendable {
    private typealias Sessions = [ObjectIdentifier: Session]

    private struct State {
        var connections: [ObjectIdentifier: Connection] = [:]
        var byUser: [UInt64: Sessions] = [:]
        var byGroup: [UInt64: Sessions] = [:]
        var groups: [UInt64: Set<UInt64>] = [:]
        /// Grows with every change of a connected user's memberships.
        var membershipChanges: [UInt64: Int] = [:]
        var isDraining = false
        var emptyWaiters: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter = 0

        func sessions(in channel: ChannelKey) -> [Session] {
            if let group = channel.group { return Array((self.byGroup[group] ?? [:]).values) }
            let first = Array((self.byUser[channel.low] ?? [:]).values)
            return channel.low == channel.high ? first : first + Array((self.byUser[channel.high] ?? [:]).values)
        }
    }

    private let state = Mutex(State())

    // MARK: Connections

    /// - Returns: `false` when there are too many.
    func opened(_ connection: Connection, limit: Int) -> Bool {
        self.state.withLock { state in
            guard state.connections.count < limit else { return false }
            state.connections[ObjectIdentifier(connection)] = connection
            return true
        }
    }

    func closed(_ connection: Connection) {
        let waiters = self.state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.connections[ObjectIdentifier(connection)] = nil
            guard state.connections.isEmpty else { return [] }
            defer { state.emptyWaiters = [:] }
            return Array(state.emptyWaiters.values)
        }
        for waiter in waiters { waiter.resume() }
    }

    /// All that are open, authenticated or not.
    var connections: [Connection] { self.state.withLock { Array($0.connections.values) } }
    var isDraining: Bool { self.state.withLock { $0.isDraining } }

    /// - Returns: the sessions that are to be told.
    func startDraining() -> [Session] {
        self.state.withLock { state in
            state.isDraining = true
            return state.byUser.values.flatMap(\.values)
        }
    }

    /// Returns when the last connection is gone, or the task is cancelled.
    func untilEmpty() async {
        let ticket = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustWait = self.state.withLock { state in
                    guard !state.connections.isEmpty, !Task.isCancelled else { return false }
                    state.emptyWaiters[ticket] = continuation
                    return true
                }
                if !mustWait { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.emptyWaiters.removeValue(forKey: ticket) }?.resume()
        }
    }

    // MARK: Sessions

    /// From when this returns, everything that is stored for the user is offered to the session.
    ///
    /// - Throws: ``Failure`` when the user has too many connections, or the store cannot say the user's groups.
    func enter(_ session: Session, limit: Int, store: any MessageStore) async throws(Failure) {
        let user = session.user.rawValue
        let isAdmitted = self.state.withLock { state in
            guard state.byUser[user, default: [:]].count < limit else { return false }
            state.byUser[user, default: [:]][ObjectIdentifier(session)] = session
            return true
        }
        guard isAdmitted else { throw Failure(.rateLimited, "the user has too many connections") }
        while true {
            // Joins and leaves that happen while the store is asked must not be lost: then it is asked again.
            let changes = self.state.withLock { $0.membershipChanges[user, default: 0] }
            let groups = try await Self.groups(of: user, in: store)
            let isCurrent = self.state.withLock { state in
                guard state.membershipChanges[user, default: 0] == changes else { return false }
                state.groups[user] = groups
                for group in groups { state.byGroup[group, default: [:]][ObjectIdentifier(session)] = session }
                return true
            }
            if isCurrent { return }
        }
    }

    private static func groups(of user: UInt64, in store: any MessageStore) async throws(Failure) -> Set<UInt64> {
        var groups: Set<UInt64> = []
        var last: UInt64 = 0
        let limit = 1000
        do throws(StoreError) {
            while true {
                let page = try await store.groups(of: user, after: last, limit: limit)
                groups.formUnion(page)
                guard let next = page.last, page.count == limit else { return groups }
                last = next
            }
        } catch {
            throw Failure(error, notFound: .internal)
        }
    }

    func leave(_ session: Session) {
        let user = session.user.rawValue
        self.state.withLock { state in
            state.byUser[user]?[ObjectIdentifier(session)] = nil
            for group in state.groups[user] ?? [] {
                state.byGroup[group]?[ObjectIdentifier(session)] = nil
                if state.byGroup[group]?.isEmpty == true { state.byGroup[group] = nil }
            }
            guard state.byUser[user]?.isEmpty == true else { return }
            state.byUser[user] = nil
            state.groups[user] = nil
            state.membershipChanges[user] = nil
        }
    }

    // MARK: Memberships of connected users

    func joined(_ user: UserID, _ group: UInt64) {
        self.state.withLock { state in
            guard state.byUser[user.rawValue] != nil else { return }
            state.membershipChanges[user.rawValue, default: 0] += 1
            state.groups[user.rawValue, default: []].insert(group)
            for (key, session) in state.byUser[user.rawValue] ?? [:] {
                state.byGroup[group, default: [:]][key] = session
            }
        }
    }

    func left(_ user: UserID, _ group: UInt64) {
        self.state.withLock { state in
            guard state.byUser[user.rawValue] != nil else { return }
            state.membershipChanges[user.rawValue, default: 0] += 1
            state.groups[user.rawValue]?.remove(group)
            for key in (state.byUser[user.rawValue] ?? [:]).keys { state.byGroup[group]?[key] = nil }
            if state.byGroup[group]?.isEmpty == true { state.byGroup[group] = nil }
        }
    }

    /// Whether a connected user takes part in a channel.
    func isMember(_ user: UserID, of channel: ChannelID) -> Bool {
        guard let group = channel.group else { return channel.peer(of: user) != nil }
        return self.state.withLock { $0.groups[user.rawValue]?.contains(group.rawValue) == true }
    }

    // MARK: Fan-out

    /// The sessions of everybody who takes part in a channel.
    func sessions(in channel: ChannelKey) -> [Session] {
        self.state.withLock { $0.sessions(in: channel) }
    }

    func sessions(of user: UserID) -> [Session] {
        self.state.withLock { Array(($0.byUser[user.rawValue] ?? [:]).values) }
    }

    /// Offers new messages to everybody connected. Called on the store's writer, in the order of each log: that order
    /// is what makes pushes come in sequence.
    func deliver(_ messages: [CommittedMessage]) {
        let targets = self.state.withLock { state in messages.map { state.sessions(in: $0.draft.channel) } }
        for (message, sessions) in zip(messages, targets) {
            for session in sessions { session.offer(message) }
        }
    }
}
