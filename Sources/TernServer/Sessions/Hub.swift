// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
internal import TernMessages
internal import TernStore
internal import TernTransport

/// Who is connected, and who of them is interested in which channel.
///
/// The store's writer needs the lock for every message. So nobody holds it for longer than ``step`` entries take, however
/// many groups a user has; only the fan-out of a message walks those who are to hear it.
final class Hub: Sendable {
    private typealias Sessions = [ObjectIdentifier: Session]

    /// What is known of one connected user, from the first session to the last.
    private struct Presence {
        /// Tells it from an earlier one of the same user, of which entries may still be in `listeners`.
        let number: UInt64
        var sessions: Sessions = [:]
        /// Requests of all sessions that the store works on at once.
        let work: Slots
        var groups: Set<UInt64> = []
        /// Whether `groups` has all that the store has.
        var isLoaded = false
        /// Left while the groups were read: the page that is under way may still have them.
        var left: Set<UInt64> = []
    }

    private struct State {
        var connections: [ObjectIdentifier: Connection] = [:]
        var presences: [UInt64: Presence] = [:]
        /// By group: the connected users in it, with the numbers of their presences.
        var listeners: [UInt64: [UInt64: UInt64]] = [:]
        var lastPresence: UInt64 = 0
        var isDraining = false
        var emptyWaiters: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter = 0
        var largestStep = 0

        func sessions(of user: UInt64) -> [Session] { self.presences[user].map { Array($0.sessions.values) } ?? [] }

        func sessions(in channel: ChannelKey) -> [Session] {
            guard let group = channel.group else {
                let first = self.sessions(of: channel.low)
                return channel.low == channel.high ? first : first + self.sessions(of: channel.high)
            }
            return (self.listeners[group] ?? [:]).flatMap { user, number in
                self.presences[user]?.number == number ? self.sessions(of: user) : []
            }
        }
    }

    /// So many groups of a user are entered or left under one hold of the lock.
    static let step = 128

    private let state = Mutex(State())
    private let workPerUser: Int

    /// - Parameter workPerUser: requests of one user that the store works on at once.
    init(workPerUser: Int = 8) {
        self.workPerUser = workPerUser
    }

    /// The most groups that were entered or left under one hold of the lock.
    var largestStep: Int { self.state.withLock { $0.largestStep } }

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
    var connectionCount: Int { self.state.withLock { $0.connections.count } }
    var isDraining: Bool { self.state.withLock { $0.isDraining } }

    /// - Returns: the sessions that are to be told.
    func startDraining() -> [Session] {
        self.state.withLock { state in
            state.isDraining = true
            return state.presences.values.flatMap(\.sessions.values)
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
        let presence = self.state.withLock { state -> (number: UInt64, isLoaded: Bool)? in
            guard (state.presences[user]?.sessions.count ?? 0) < limit else { return nil }
            if state.presences[user] == nil {
                state.lastPresence += 1
                state.presences[user] = Presence(number: state.lastPresence, work: Slots(count: self.workPerUser))
            }
            state.presences[user]?.sessions[ObjectIdentifier(session)] = session
            return state.presences[user].map { ($0.number, $0.isLoaded) }
        }
        guard let presence else { throw Failure(.rateLimited, "the user has too many connections") }
        // The user's first session reads the groups; the others find them there.
        if !presence.isLoaded { try await self.loadGroups(of: user, presence.number, from: store) }
    }

    private func loadGroups(
        of user: UInt64, _ number: UInt64, from store: any MessageStore
    ) async throws(Failure) {
        var last: UInt64 = 0
        while true {
            let page: [UInt64]
            do throws(StoreError) {
                page = try await store.groups(of: user, after: last, limit: Self.step)
            } catch {
                throw Failure(error, notFound: .internal)
            }
            let isLast = page.count < Self.step
            let isDone = self.state.withLock { state in
                // The user went away, or another session read them all before.
                guard let presence = state.presences[user], presence.number == number, !presence.isLoaded else {
                    return true
                }
                for group in page where !presence.left.contains(group) { Self.add(user, number, to: group, &state) }
                state.largestStep = max(state.largestStep, page.count)
                if isLast {
                    state.presences[user]?.isLoaded = true
                    state.presences[user]?.left = []
                }
                return isLast
            }
            guard !isDone, let next = page.last else { return }
            last = next
        }
    }

    private static func add(_ user: UInt64, _ number: UInt64, to group: UInt64, _ state: inout State) {
        state.presences[user]?.groups.insert(group)
        state.listeners[group, default: [:]][user] = number
    }

    /// Idempotent.
    func leave(_ session: Session) {
        let user = session.user.rawValue
        let gone = self.state.withLock { state -> Presence? in
            state.presences[user]?.sessions[ObjectIdentifier(session)] = nil
            guard state.presences[user]?.sessions.isEmpty == true else { return nil }
            return state.presences.removeValue(forKey: user)
        }
        guard let gone else { return }
        // Nobody finds the presence any more; what is left of it in the groups is swept up in steps.
        var rest = Array(gone.groups)[...]
        while !rest.isEmpty {
            let step = rest.prefix(Self.step)
            rest = rest.dropFirst(step.count)
            self.state.withLock { state in
                for group in step where state.listeners[group]?[user] == gone.number {
                    Self.remove(user, from: group, &state)
                }
                state.largestStep = max(state.largestStep, step.count)
            }
        }
    }

    private static func remove(_ user: UInt64, from group: UInt64, _ state: inout State) {
        state.listeners[group]?[user] = nil
        if state.listeners[group]?.isEmpty == true { state.listeners[group] = nil }
    }

    // MARK: Memberships of connected users

    func joined(_ user: UserID, _ group: UInt64) {
        let user = user.rawValue
        self.state.withLock { state in
            guard let number = state.presences[user]?.number else { return }
            state.presences[user]?.left.remove(group)
            Self.add(user, number, to: group, &state)
        }
    }

    func left(_ user: UserID, _ group: UInt64) {
        let user = user.rawValue
        self.state.withLock { state in
            guard let isLoaded = state.presences[user]?.isLoaded else { return }
            state.presences[user]?.groups.remove(group)
            if !isLoaded { state.presences[user]?.left.insert(group) }
            Self.remove(user, from: group, &state)
        }
    }

    /// Whether a connected user takes part in a channel.
    func isMember(_ user: UserID, of channel: ChannelID) -> Bool {
        guard let group = channel.group else { return channel.peer(of: user) != nil }
        return self.state.withLock { $0.presences[user.rawValue]?.groups.contains(group.rawValue) == true }
    }

    // MARK: Fan-out

    /// How many connected users take part in a channel.
    func audience(of channel: ChannelKey) -> Int {
        guard let group = channel.group else { return 2 }
        return self.state.withLock { $0.listeners[group]?.count ?? 0 }
    }

    /// The sessions of everybody who takes part in a channel.
    func sessions(in channel: ChannelKey) -> [Session] {
        self.state.withLock { $0.sessions(in: channel) }
    }

    /// What a connected user's requests share, whichever session they come from; `nil` for one who has gone.
    func work(of user: UserID) -> Slots? {
        self.state.withLock { $0.presences[user.rawValue]?.work }
    }

    func sessions(of user: UserID) -> [Session] {
        self.state.withLock { $0.sessions(of: user.rawValue) }
    }

    /// Offers new messages to everybody connected. Called on the store's writer, in the order of each log: that order
    /// is what makes pushes come in sequence.
    func deliver(_ messages: [CommittedMessage]) {
        for message in messages {
            for session in self.sessions(in: message.draft.channel) { session.offer(message) }
        }
    }
}
