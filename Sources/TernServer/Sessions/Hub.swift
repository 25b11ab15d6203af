// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Synchronization
internal import TernMessages
internal import TernStore
internal import TernTransport

/// Who is connected, and who of them is interested in which channel: ``HubState`` behind a lock.
///
/// The store's writer needs the lock for every message. So nobody holds it for longer than ``step`` entries take, however
/// many groups a user has; only the fan-out of a message walks those who are to hear it.
final class Hub: Sendable {
    private struct State {
        var hub = HubState<Session>()
        /// By user, as long as they are connected: requests of all sessions that the store works on at once.
        var work: [UInt64: Slots] = [:]
        var connections: [ObjectIdentifier: Connection] = [:]
        var emptyWaiters: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter = 0
        var largestStep = 0
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
    var isDraining: Bool { self.state.withLock { $0.hub.isDraining } }

    /// - Returns: the sessions that are to be told; from now on nobody enters.
    func startDraining() -> [Session] {
        self.state.withLock { $0.hub.startDraining() }
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
    /// - Throws: ``Failure`` when the user has too many connections, the server is about to stop, or the store cannot say the
    ///   user's groups.
    func enter(_ session: Session, limit: Int, store: any MessageStore) async throws(Failure) {
        let user = session.user.rawValue
        let entrance = self.state.withLock { state in
            let entrance = state.hub.enter(session, of: user, limit: limit)
            if state.hub.isConnected(user), state.work[user] == nil {
                state.work[user] = Slots(count: self.workPerUser)
            }
            return entrance
        }
        switch entrance {
        case .ready: return
        case .mustLoad(let number): try await self.loadGroups(of: user, number, from: store)
        case .tooMany: throw Failure(.rateLimited, "the user has too many connections")
        case .draining: throw Failure(.draining, "the server is about to stop")
        }
    }

    /// The user's first session reads the groups; later ones find them there.
    private func loadGroups(
        of user: UInt64, _ number: UInt64, from store: any MessageStore
    ) async throws(Failure) {
        var last: UInt64 = 0
        while true {
            let page: [GroupMembership]
            do throws(StoreError) {
                page = try await store.memberships(of: user, after: last, limit: Self.step)
            } catch {
                throw Failure(error, notFound: .internal)
            }
            let isDone = self.state.withLock { state in
                state.largestStep = max(state.largestStep, page.count)
                return state.hub.loaded(page, isLast: page.count < Self.step, of: user, number: number)
            }
            guard !isDone, let next = page.last else { return }
            last = next.group
        }
    }

    /// Idempotent.
    func leave(_ session: Session) {
        let user = session.user.rawValue
        let departure = self.state.withLock { state in
            let departure = state.hub.leave(session, of: user)
            if departure != nil { state.work[user] = nil }
            return departure
        }
        guard let departure else { return }
        // Nobody finds the user any more; what is left in the groups is swept up in steps.
        var rest = departure.groups[...]
        while !rest.isEmpty {
            let step = rest.prefix(Self.step)
            rest = rest.dropFirst(step.count)
            self.state.withLock { state in
                state.hub.sweep(step, of: user, number: departure.number)
                state.largestStep = max(state.largestStep, step.count)
            }
        }
    }

    /// Whether a connected user takes part in a channel.
    func isMember(_ user: UserID, of channel: ChannelID) -> Bool {
        guard let group = channel.group else { return channel.peer(of: user) != nil }
        return self.state.withLock { $0.hub.isMember(user.rawValue, of: group.rawValue) }
    }

    // MARK: Fan-out

    /// How many connected users take part in a channel.
    func audience(of channel: ChannelKey) -> Int {
        guard let group = channel.group else { return 2 }
        return self.state.withLock { $0.hub.audience(of: group) }
    }

    /// The sessions of everybody who takes part in a channel.
    ///
    /// - Parameter sequence: only of those who may read this message; all by default.
    func sessions(in channel: ChannelKey, at sequence: UInt64 = .max) -> [Session] {
        self.state.withLock { $0.hub.sessions(in: channel, at: sequence) }
    }

    /// What a connected user's requests share, whichever session they come from; `nil` for one who has gone.
    func work(of user: UserID) -> Slots? {
        self.state.withLock { $0.work[user.rawValue] }
    }

    func sessions(of user: UserID) -> [Session] {
        self.state.withLock { $0.hub.sessions(of: user.rawValue) }
    }

    /// The sessions of a user who is in a group; none when they have left it.
    func sessions(of user: UserID, in group: GroupID) -> [Session] {
        self.state.withLock { state in
            state.hub.isMember(user.rawValue, of: group.rawValue) ? state.hub.sessions(of: user.rawValue) : []
        }
    }

    /// Tells a receipt of `sender` to those of `others` who take part in the channel at this moment, and may know of its message.
    ///
    /// A session hears of the end of its membership after it ended here. So that it drops what it was told before, and is told
    /// nothing after, it is told under the lock; so few at a time that the writer does not wait for long.
    func offer(_ receipt: TernMessages.Receipt, in channel: ChannelID, from sender: Session, to others: [Session]) {
        let (key, sequence) = (ChannelKey(channel), receipt.sequence.rawValue)
        var rest = others[...]
        while !rest.isEmpty {
            let step = rest.prefix(Self.step)
            rest = rest.dropFirst(step.count)
            self.state.withLock { state in
                guard state.hub.mayKnow(sender.user.rawValue, of: sequence, in: key) else { return }
                for other in step where state.hub.mayKnow(other.user.rawValue, of: sequence, in: key) {
                    other.control.offer(receipt, in: channel)
                }
            }
        }
    }

    // MARK: What the store commits

    /// Follows memberships, and offers new messages to everybody connected. Called on the store's writer, in the order of the
    /// commits: that order is what makes pushes come in sequence, to those who were members at that moment.
    func follow(_ events: [CommitEvent]) {
        for event in events {
            switch event {
            case .message(let message):
                // Of a commit with a message and a join after it, a page of groups may have told the join already.
                for session in self.sessions(in: message.draft.channel, at: message.receipt.sequence) {
                    session.offer(message)
                }
            case .joined(let user, let membership):
                self.change(user, in: membership.group, isMember: true) { $0.joined(user, membership) }
            case .left(let user, let group):
                self.change(user, in: group, isMember: false) { $0.left(user, group: group) }
            }
        }
    }

    private func change(
        _ user: UInt64, in group: UInt64, isMember: Bool, _ body: (inout HubState<Session>) -> Void
    ) {
        let sessions = self.state.withLock { state in
            body(&state.hub)
            return state.hub.sessions(of: user)
        }
        for session in sessions { session.membershipChanged(.group(group), isMember: isMember) }
    }
}
