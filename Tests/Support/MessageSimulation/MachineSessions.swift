// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages
import TernServer
import TernStore
import TernTesting

/// A server whose sessions are the machines of the real one.
package typealias MachineServer = ModelServer<MachineSessions>

/// The server's own machines, `HubState` and `SessionState`, and around them what the real server has: a writer that tells them of
/// one commit after the other, streams that are slow or break, and tasks that do the next step a moment later. Between any two
/// steps anything else may happen, by the seed.
package struct MachineSessions: ServerSessions {
    /// What stands for a session in the hub.
    final class Handle: Sendable {
        let number: SessionNumber
        let user: UserID

        init(_ number: SessionNumber, _ user: UserID) {
            self.number = number
            self.user = user
        }
    }

    /// How far whoever writes a stream is.
    enum Writer {
        /// It will take what there is.
        case serving
        /// There was nothing; it is about to wait.
        case settling
        case waiting
        /// The client does not read.
        case blocked
        case ended
    }

    struct Push {
        let stream: UInt64
        var writer = Writer.serving
    }

    struct Entry {
        let handle: Handle
        let device: ModelStore.Device
        var state: SessionState
        /// It was let in: its streams are served.
        var isOpen = false
        /// The connection ended before it was let in.
        var isGone = false
        /// Push streams that are to be opened when it is let in.
        var starts: [FeedStart] = []
        var pushes: [FeedStart: Push] = [:]
        var control = Writer.ended
        var isAnswered = false
        /// Pushed and not taken.
        var unread = 0
        /// When the last answer to a commit is given.
        var lastAnswer = Moment.zero
        /// Groups that the user left, and from where on those are theirs that they joined since.
        var left: Set<ChannelKey> = []
        var since: [ChannelKey: UInt64] = [:]
        var receipts = ReceiptState()
        /// A receipt that is being stored: what the store had, and when it was asked.
        var storing: (before: TernStore.Offsets, asked: ReceiptState.Moment)?
        var lastHeard = Moment.zero
        /// When its token ends by either clock.
        var token: (end: Moment, wall: Int64)?
        /// Another one took its place, or its time is over.
        var isClosing = false
    }

    /// What a task of the server does next.
    enum Step {
        case enter(SessionNumber)
        case page([GroupMembership], isLast: Bool, SessionNumber, presence: UInt64)
        case admit(SessionNumber)
        case sweep(ArraySlice<UInt64>, UInt64, presence: UInt64)
        case open(SessionNumber, FeedStart)
        case push(SessionNumber, FeedStart)
        case settle(SessionNumber, FeedStart)
        case broke(SessionNumber, FeedStart)
        case control(SessionNumber)
        case settleControl(SessionNumber)
        case caughtUp(SessionNumber, RequestFrame, History.Answer, ChannelID)
        case forward(SessionNumber, ReceiptState.Place)
        case tellReceipt(SessionNumber, TernMessages.Receipt, ChannelID)
        case tellNotice(SessionNumber, InboxNotice, ChannelKey)
        case drain(SessionNumber, UInt32)
        case complete(SessionNumber, [ServerEffect], Draft?)
        case token(SessionNumber)
        /// The server closed the connection.
        case closed(SessionNumber)
    }

    /// What the store's writer tells, one after the other.
    enum Telling {
        /// - Parameter members: who was in the channel when it was committed, and from where on a joined group is theirs.
        case event(CommitEvent, members: [UserID], since: UInt64)
        case offer(SessionNumber, CommittedMessage)
        case change(SessionNumber, ChannelKey, isMember: Bool, since: UInt64)
        case announce(SessionNumber, InboxNotice, UserID, GroupID)
        case answer(SessionNumber, [ServerEffect], Draft?)
    }

    package var pushLimit = 4
    private let limits: SessionState.Limits
    /// How many groups are read at once.
    let groupsPerPage: Int
    var hub = HubState<Handle>()
    var entries: [SessionNumber: Entry] = [:]
    var steps = EventQueue<Step>()
    var tellings: [Telling] = []
    var tellingDue = Moment.zero
    var random: SeededRandom
    var lastStream: UInt64 = 0
    /// What this run is about, besides.
    let trial: Trial
    /// How far the clock on the wall was set forward or back.
    var wallOffset: Int64 = 0
    let base = ContinuousClock.now
    /// Sessions that are told to go.
    private var leavers: Set<SessionNumber> = []
    package private(set) var failures: [String] = []

    package init(seed: UInt64) {
        var random = SeededRandom(seed: seed &+ 1)
        self.limits = SessionState.Limits(
            queuedPushBytes: 300 + 256 * Int(random.next() % 5), pushStreams: 1 + Int(random.next() % 3),
            controlBytes: random.next() % 4 == 0 ? 300 : 256 << 10)
        self.trial = Trial(&random)
        self.groupsPerPage = 1 + Int(random.next() % 2)
        self.random = random
    }

    package var numbers: [SessionNumber] { self.entries.keys.sorted() }

    package func device(of session: SessionNumber) -> ModelStore.Device? {
        self.entries[session].flatMap { $0.isOpen ? $0.device : nil }
    }

    package func isMember(_ user: UserID, of channel: ChannelID, in store: ModelStore) -> Bool {
        guard let group = channel.group else { return channel.peer(of: user) != nil }
        return self.hub.isMember(user.rawValue, of: group.rawValue)
    }

    mutating func fail(_ text: String) {
        if self.failures.count < 5 { self.failures.append(text) }
    }

    // MARK: Time

    /// What a task of the server takes until its next step: mostly nothing, sometimes long.
    mutating func pause() -> Duration {
        switch self.random.next() % 10 {
        case 0: .microseconds(Int(self.random.next() % 40_000))
        case 1...3: .microseconds(Int(self.random.next() % 4_000))
        default: .microseconds(Int(self.random.next() % 200))
        }
    }

    mutating func then(_ step: Step, _ now: Moment) {
        self.steps.add(step, at: now + self.pause())
    }

    package var nextDeadline: Moment? {
        let telling = self.tellings.isEmpty ? nil : self.tellingDue
        return [telling, self.steps.nextTime].compactMap { $0 }.min()
    }

    package mutating func timeout(_ store: ModelStore, now: Moment) -> [ServerEffect] {
        var effects: [ServerEffect] = []
        while true {
            if !self.tellings.isEmpty, self.tellingDue <= now {
                effects += self.tell(self.tellings.removeFirst(), store, now)
                // The writer does not stop between one session and the next, but for once in a while.
                if self.random.chance(0.2) { self.tellingDue = now + .microseconds(Int(self.random.next() % 600)) }
            } else if let next = self.steps.nextTime, next <= now, let (_, step) = self.steps.pop() {
                effects += self.perform(step, store, now)
            } else {
                return effects
            }
        }
    }

    // MARK: Coming

    package mutating func enter(
        _ session: SessionNumber, _ device: ModelStore.Device, _ answer: AuthenticationAnswer, now: Moment
    ) -> [ServerEffect] {
        let token = self.makeToken(now)
        let state = SessionState(
            user: device.user, device: device.device, limits: self.limits,
            token: token.map { TokenEnd(expires: $0.wall - Self.forgiven, acceptedAt: self.time(now)) })
        var entry = Entry(handle: Handle(session, device.user), device: device, state: state)
        entry.lastHeard = now
        entry.token = token
        self.entries[session] = entry
        // The answer is the first message; pushes may come from the moment in which the session is entered.
        let effects = self.apply(session, now) { $0.send(answer.message) }
        self.then(.enter(session), now)
        return effects
    }

    mutating func enterHub(_ session: SessionNumber, _ store: ModelStore, _ now: Moment) -> [ServerEffect] {
        guard let entry = self.entries[session] else { return [] }
        switch self.hub.enter(
            entry.handle, of: entry.device.user.rawValue, limit: self.trial.connectionsPerUser)
        {
        case .ready: self.then(.admit(session), now)
        case .mustLoad(let number): self.readPage(after: 0, session, number, store, now)
        case .tooMany: return self.makeRoom(for: session, entry.device.user, now)
        case .draining:
            let failure = Failure(.draining, "the server is about to stop", retryAfter: 300)
            return self.refuse(session, failure, now)
        }
        return []
    }

    /// As the server does where a user has as many sessions as allowed.
    private mutating func makeRoom(for session: SessionNumber, _ user: UserID, _ now: Moment) -> [ServerEffect] {
        let others = self.hub.sessions(of: user.rawValue).sorted { $0.number < $1.number }.map { handle in
            (session: handle, silence: now - (self.entries[handle.number]?.lastHeard ?? .zero))
        }
        let longest = others.map(\.silence).max() ?? .zero
        switch GivingWay.choose(among: others, patience: self.trial.patience) {
        case .nobody(let wait):
            if longest >= self.trial.patience { self.fail("\(user) is locked out by who is silent for \(longest)") }
            let failure = Failure(
                .rateLimited, "all in use", retryAfter: UInt32((wait / .milliseconds(1)).rounded(.up)))
            return self.refuse(session, failure, now)
        case .session(let quietest):
            if now - (self.entries[quietest.number]?.lastHeard ?? .zero) < self.trial.patience {
                self.fail("session \(quietest.number) gives way, and is there")
            }
            self.leaveHub(quietest, now)
            let effects = self.apply(quietest.number, now) { $0.close(.gaveWay, reason: "silent") }
            self.then(.enter(session), now)
            return effects
        }
    }

    private mutating func refuse(_ session: SessionNumber, _ failure: Failure, _ now: Moment) -> [ServerEffect] {
        let isGone = self.entries[session]?.isGone != false
        self.remove(session, now)
        return isGone ? [] : [.refused(session, failure)]
    }

    /// What is read now is delivered later.
    private mutating func readPage(
        after last: UInt64, _ session: SessionNumber, _ presence: UInt64, _ store: ModelStore, _ now: Moment
    ) {
        guard let user = self.entries[session]?.device.user else { return }
        let rest = store.groups.keys.sorted { $0.rawValue < $1.rawValue }.filter {
            $0.rawValue > last && store.groups[$0]?.members[user] != nil
        }
        let page = rest.prefix(self.groupsPerPage).map {
            GroupMembership(group: $0.rawValue, first: store.first(in: ChannelID(group: $0), for: user))
        }
        self.then(.page(page, isLast: page.count < self.groupsPerPage, session, presence: presence), now)
    }

    mutating func loaded(
        _ page: [GroupMembership], isLast: Bool, _ session: SessionNumber, _ presence: UInt64, _ store: ModelStore,
        _ now: Moment
    ) -> [ServerEffect] {
        guard let user = self.entries[session]?.device.user else { return [] }
        // Once in a while the store cannot say it.
        if self.random.chance(0.01) { return self.refuse(session, Failure(.internal, "the store failed"), now) }
        let isDone = self.hub.loaded(page, isLast: isLast, of: user.rawValue, number: presence)
        if !isDone, let next = page.last {
            self.readPage(after: next.group, session, presence, store, now)
        } else {
            self.then(.admit(session), now)
        }
        return []
    }

    mutating func admit(_ session: SessionNumber, _ now: Moment) {
        guard let entry = self.entries[session] else { return }
        guard !entry.isGone else { return self.remove(session, now) }
        self.entries[session]?.isOpen = true
        self.entries[session]?.starts = []
        self.entries[session]?.control = .serving
        self.then(.control(session), now)
        if entry.token != nil { self.then(.token(session), now) }
        for start in entry.starts { self.then(.open(session, start), now) }
    }

    // MARK: Going

    package mutating func leave(_ session: SessionNumber, now: Moment) {
        guard let entry = self.entries[session] else { return }
        // Whoever lets it in finds that it went.
        guard entry.isOpen else {
            self.entries[session]?.isGone = true
            return
        }
        self.remove(session, now)
    }

    private mutating func remove(_ session: SessionNumber, _ now: Moment) {
        guard var entry = self.entries.removeValue(forKey: session) else { return }
        if self.hub.isDraining, entry.isOpen, !entry.isClosing, !self.leavers.contains(session) {
            self.fail("session \(session) was not told that the server is about to stop")
        }
        _ = entry.state.finishControl()
        _ = entry.state.stopPushing()
        self.leaveHub(entry.handle, now)
    }

    private mutating func leaveHub(_ handle: Handle, _ now: Moment) {
        let user = handle.user.rawValue
        guard let departure = self.hub.leave(handle, of: user) else { return }
        var rest = departure.groups.sorted()[...]
        var moment = now
        while !rest.isEmpty {
            let part = rest.prefix(self.groupsPerPage)
            rest = rest.dropFirst(part.count)
            moment += self.pause()
            self.steps.add(.sweep(part, user, presence: departure.number), at: moment)
        }
    }

    package mutating func clientLeaves(_ session: SessionNumber, now: Moment) -> [ServerEffect] {
        self.apply(session, now) { state in
            // By number, for a run has to be the same each time.
            let ended = state.stopPushing().sorted { Self.order($0) < Self.order($1) }
            return ended + state.finishControl()
        }
    }

    private static func order(_ effect: SessionState.Effect) -> Int {
        if case .wake(let start) = effect { start.number } else { 0 }
    }

    package mutating func drain(retryAfter milliseconds: UInt32, now: Moment) -> [ServerEffect] {
        for handle in self.hub.startDraining().sorted(by: { $0.number < $1.number }) {
            self.leavers.insert(handle.number)
            self.then(.drain(handle.number, milliseconds), now)
        }
        return []
    }

    package mutating func restart() {
        self.hub = HubState()
        self.leavers = []
        self.entries = [:]
        self.steps = EventQueue()
        self.tellings = []
    }

    // MARK: Accounts

    package var leftovers: [String] {
        self.numbers.filter { number in
            guard let entry = self.entries[number] else { return false }
            return !entry.state.holdsNothing || !entry.receipts.isIdle || entry.storing != nil || entry.token != nil
        }.map { "session \($0) keeps something" }
    }

    package var isEmpty: Bool {
        self.entries.isEmpty && self.hub.isEmpty && self.tellings.isEmpty && self.steps.nextTime == nil
    }
}
