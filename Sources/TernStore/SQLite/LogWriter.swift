// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import Synchronization

/// The one thread that writes: it takes what is queued, puts it into one transaction, and answers after the commit. While a
/// commit is under way the next batch gathers by itself; there is no timer in the way of a message.
///
/// `@unchecked Sendable`: `session` and the fields below it belong to the thread that runs ``run()``; before it starts, to the
/// one that made the writer.
final class LogWriter: @unchecked Sendable {
    let queue: WriteQueue
    let offsets: PendingOffsets
    let board: StatusBoard
    let observer = Mutex<(@Sendable ([CommitEvent]) -> Void)?>(nil)
    let counters = Mutex(StoreStatistics())
    let quotas = Mutex(UserQuotas.unlimited)

    private let directory: DataDirectory
    private let options: SQLiteMessageStore.Options
    private let logger: Logger
    private var session: WriteSession?
    private var run: StoreRun
    private var files: OpenFiles
    private var time: StoreTime
    /// How far the time is written down.
    private var notedTime: UInt64
    /// Why the store is read-only.
    private var failure: StoreError?
    private var offsetsDue: MonotonicInstant?
    private var probeDue: MonotonicInstant?
    private var idleDue: MonotonicInstant?
    /// The pages of the WAL after the last checkpoint that was tried.
    private var checkpointedPages = 0

    /// Opens the database, which exists.
    ///
    /// - Parameter remains: of the write-ahead log, before the database was opened; `nil` for a new one.
    init(
        directory: DataDirectory, remains: WriteAheadLog?, options: SQLiteMessageStore.Options, board: StatusBoard,
        logger: Logger
    ) throws(StoreError) {
        self.directory = directory
        self.options = options
        self.board = board
        self.logger = logger
        self.queue = WriteQueue(bounds: options.queueBounds)
        self.offsets = PendingOffsets()
        self.run = StoreRun(directory: directory, durability: options.durability, logger: logger)
        let session = try Self.openSession(directory, options)
        self.session = session
        self.notedTime = try self.run.begin(in: session, after: remains, wall: options.now())
        self.time = StoreTime(milliseconds: self.notedTime, steady: options.steadyNow())
        self.files = OpenFiles(of: directory.database)
    }

    private static func openSession(
        _ directory: DataDirectory, _ options: SQLiteMessageStore.Options
    ) throws(StoreError) -> WriteSession {
        try WriteSession(
            path: directory.database, durability: options.durability, maximumPages: options.maximumPages,
            lockPatience: options.lockPatience)
    }

    // MARK: The thread

    /// Serves the queue until it is closed and empty. Blocks.
    func runUntilClosed() {
        loop: while true {
            switch self.queue.next(until: self.nextDeadline) {
            case .work(let items): self.serve(items)
            case .closed: break loop
            case .poked, nil: break
            }
            self.attendToTimers()
        }
        self.finish()
    }

    private var nextDeadline: MonotonicInstant? {
        if self.failure != nil { return self.probeDue }
        if self.offsetsDue == nil, !self.offsets.isEmpty {
            self.offsetsDue = MonotonicInstant.now.advanced(by: self.options.offsetDelay)
        }
        return [self.offsetsDue, self.idleDue].compactMap { $0 }.min()
    }

    private func attendToTimers() {
        let now = MonotonicInstant.now
        if let probeDue, probeDue <= now { self.probe() }
        guard self.failure == nil else { return }
        if let offsetsDue, offsetsDue <= now { self.serve([]) }
        if let idleDue, idleDue <= now { self.useIdleTime() }
    }

    // MARK: Batches

    private enum Outcome {
        case receipt(Receipt, AppendReply)
        case changed(@Sendable () -> Void)
        case refused(StoreError, WriteItem)
    }

    private func serve(_ items: [WriteItem]) {
        guard self.failure == nil, let session = self.session else {
            let refusal = self.failure ?? .closed
            for item in items { item.fail(refusal) }
            return
        }
        var outcomes: [Outcome] = []
        outcomes.reserveCapacity(items.count)
        let events: [CommitEvent]
        let noted: UInt64
        self.time.advance(steady: self.options.steadyNow(), wall: self.options.now())
        self.counters.withLock { $0.begun += 1 }
        let left: Set<WriteSession.Membership>
        var isAtItems = false
        do {
            try session.begin(quotas: self.quotas.withLock { $0 })
            noted = try self.noteTime(in: session)
            isAtItems = true
            for item in items { outcomes.append(try self.perform(item, in: session)) }
            isAtItems = false
            left = session.left
            try self.writeOffsets(in: session, except: left)
            try self.prune(in: session, afterBatchOf: items.count)
            events = session.events
            try session.commit()
        } catch {
            self.abandon(items, in: session, because: error, isFaultOfItem: isAtItems)
            return
        }
        self.offsets.written(forgetting: left)
        self.offsetsDue = nil
        if let damage = self.files.damage {
            self.becomeLost(damage)
            for item in items { item.fail(self.failure ?? .closed) }
            return
        }
        self.notedTime = noted
        self.noteCommit(of: events, items: items.count, in: session)
        self.announce(events, outcomes)
        self.checkpointIfLong(session)
    }

    /// What a mistake of the caller refuses costs the others of the batch nothing; what SQLite refuses ends the batch.
    private func perform(_ item: WriteItem, in session: WriteSession) throws(StoreError) -> Outcome {
        do {
            switch item {
            case .append(let draft, let reply):
                return .receipt(
                    try session.append(draft, now: self.options.now(), keyTime: self.time.milliseconds), reply)
            case .change(let change):
                return .changed(try change.apply(session))
            }
        } catch  where error.sqliteCode == nil {
            return .refused(error, item)
        }
    }

    /// What was told in a membership that ends in this transaction is forgotten with it.
    private func writeOffsets(
        in session: WriteSession, except left: Set<WriteSession.Membership>
    ) throws(StoreError) {
        for (place, offsets) in self.offsets.take() {
            let membership = WriteSession.Membership(user: place.device.user, channel: place.channel)
            guard !left.contains(membership) else { continue }
            try session.statements.advanceOffsets.bind(
                place.device.user, place.channel, UInt64(place.device.device), offsets.delivered, offsets.read
            ).run()
        }
    }

    /// Forgets old keys, faster than new ones come but never many at once.
    private func prune(in session: WriteSession, afterBatchOf count: Int) throws(StoreError) {
        let window = UInt64(clamping: max(0, self.options.keyWindow.components.seconds)).multipliedReportingOverflow(
            by: 1_000)
        let edge = self.time.edge(of: window.overflow ? .max : window.partialValue)
        guard edge > 0 else { return }
        try session.statements.pruneKeys.bind(edge, UInt64(2 * count + 16)).run()
    }

    /// Written down before it is too far ahead: after a death it goes on from there, or from the newest key.
    private func noteTime(in session: WriteSession) throws(StoreError) -> UInt64 {
        guard self.time.milliseconds >= self.notedTime + StoreTime.noteEvery else { return self.notedTime }
        try session.statements.noteTime.bind(self.time.milliseconds).run()
        return self.time.milliseconds
    }

    private func announce(_ events: [CommitEvent], _ outcomes: [Outcome]) {
        if !events.isEmpty, let observer = self.observer.withLock({ $0 }) { observer(events) }
        for outcome in outcomes {
            switch outcome {
            case .receipt(let receipt, let reply): reply(.success(receipt))
            case .changed(let answer): answer()
            case .refused(let error, let item): item.fail(error)
            }
        }
    }

    private func noteCommit(of events: [CommitEvent], items: Int, in session: WriteSession) {
        let messages = UInt64(events.count { if case .message = $0 { true } else { false } })
        self.run.messages += messages
        self.idleDue = MonotonicInstant.now.advanced(by: self.options.idleDelay)
        self.counters.withLock {
            $0.transactions += 1
            $0.messages += messages
            $0.largestBatch = max($0.largestBatch, items)
        }
    }

    // MARK: Failure

    private func abandon(
        _ items: [WriteItem], in session: WriteSession, because error: StoreError, isFaultOfItem: Bool
    ) {
        session.rollback()
        self.offsets.notWritten()
        switch error.code {
        case .readOnly, .corrupt, .notADatabase:
            self.becomeReadOnly(error)
            for item in items { item.fail(self.failure ?? error) }
        case _ where isFaultOfItem && items.count > 1:
            // One of them is at fault: the others shall not suffer for it, and each half shares a transaction.
            self.serve(Array(items[..<(items.count / 2)]))
            self.serve(Array(items[(items.count / 2)...]))
        default:
            self.offsetsDue = MonotonicInstant.now.advanced(by: self.options.probeInterval)
            self.logger.error("the store could not write", metadata: ["error": "\(error)"])
            for item in items { item.fail(error) }
        }
    }

    private func becomeReadOnly(_ error: StoreError) {
        let message = "the store takes no writes: \(error.message)"
        self.failure = StoreError(.readOnly, message: message, sqliteCode: error.sqliteCode, cause: error.cause)
        // A log that contradicts itself does not heal; a disk may.
        let canHeal = error.code == .readOnly
        self.probeDue = canHeal ? MonotonicInstant.now.advanced(by: self.options.probeInterval) : nil
        self.idleDue = nil
        self.offsetsDue = nil
        if self.board.status != .readOnly(reason: message) {
            self.logger.critical("the store is read-only", metadata: ["error": "\(error)", "heals": "\(canHeal)"])
            self.board.post(.readOnly(reason: message))
        }
    }

    /// The files are gone. Whoever waits is not told that anything was stored; and this does not heal, as readers would go on
    /// with files that nobody else sees.
    private func becomeLost(_ damage: String) {
        let message = "\(damage); nothing that is written from now on would be found again"
        self.failure = StoreError(.lost, message: message)
        self.probeDue = nil
        self.idleDue = nil
        self.offsetsDue = nil
        self.logger.critical("the store is lost", metadata: ["reason": "\(message)"])
        self.board.post(.lost(reason: message))
    }

    /// Tries whether writing works again, on a connection that knows nothing of what failed.
    private func probe() {
        defer { self.counters.withLock { $0.probes += 1 } }
        if let damage = self.files.damage { return self.becomeLost(damage) }
        // Should it be the last connection, the log must not disappear with it.
        self.session?.connection.keepLog()
        self.session = nil
        var opened: WriteSession?
        do {
            let session = try Self.openSession(self.directory, self.options)
            opened = session
            // Moving the log into the tables may make the room that was missing: the next commit begins at its start. It is not
            // emptied, as whoever finds it so after a kill could not tell it from a loss.
            session.connection.setBusyTimeout(milliseconds: 20)
            _ = try? session.connection.checkpoint(.restart)
            session.setPatience()
            try session.connection.execute("BEGIN IMMEDIATE; DELETE FROM probe")
            try session.connection.execute("INSERT INTO probe VALUES (zeroblob(65536)); COMMIT")
            try session.connection.execute("DELETE FROM probe")
            self.session = session
            // The log may have been put away with the last connection.
            self.files = OpenFiles(of: self.directory.database)
            self.failure = nil
            self.probeDue = nil
            self.checkpointedPages = 0
            self.logger.notice("the store takes writes again")
            self.board.post(.writable)
        } catch {
            opened?.connection.keepLog()
            self.becomeReadOnly(error.code == .readOnly ? error : StoreError(.readOnly, message: error.message))
        }
    }

    // MARK: Checkpoints

    private func checkpointIfLong(_ session: WriteSession) {
        let pages = session.connection.walPages
        if pages < self.checkpointedPages { self.checkpointedPages = 0 }
        guard pages >= self.checkpointedPages + self.options.checkpointPages else { return }
        self.checkpointedPages = pages
        // Readers that never pause keep a passive checkpoint from ever starting the WAL anew.
        let isTooLong = pages >= 16 * self.options.checkpointPages
        self.checkpoint(isTooLong ? .restart : .passive, session)
    }

    private func useIdleTime() {
        self.idleDue = nil
        guard let session = self.session, session.connection.walPages > 0 else { return }
        self.checkpointedPages = 0
        if !self.checkpoint(.restart, session) {
            self.idleDue = MonotonicInstant.now.advanced(by: self.options.idleDelay)
        }
        if self.files.damage == nil { self.run.note() }
    }

    @discardableResult
    private func checkpoint(_ kind: SQLiteConnection.Checkpoint, _ session: WriteSession) -> Bool {
        session.connection.setBusyTimeout(milliseconds: 20)
        defer {
            session.setPatience()
            self.counters.withLock { $0.checkpoints += 1 }
        }
        do {
            return try session.connection.checkpoint(kind)
        } catch {
            // Nothing is lost: the WAL keeps what could not be moved. The next commit finds out whether the disk still writes.
            self.logger.error("a checkpoint failed", metadata: ["error": "\(error)"])
            return true
        }
    }

    private func finish() {
        // A disk that has room again takes the end of the run.
        if self.probeDue != nil { self.probe() }
        if self.failure == nil, !self.offsets.isEmpty { self.serve([]) }
        if let session = self.session {
            self.time.advance(steady: self.options.steadyNow(), wall: self.options.now())
            if self.failure == nil, self.run.end(in: session, at: self.time.milliseconds) {
                self.checkpoint(.truncate, session)
            } else {
                // The log of a run that has no end must not disappear with the last connection.
                session.connection.keepLog()
            }
        }
        self.session = nil
        self.directory.unlock()
    }
}

extension WriteItem {
    func fail(_ error: StoreError) {
        switch self {
        case .append(_, let reply): reply(.failure(error))
        case .change(let change): change.fail(error)
        }
    }
}
