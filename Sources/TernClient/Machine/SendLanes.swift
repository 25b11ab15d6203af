// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernMessages

/// The messages that are not acknowledged, per receiver and in order. What was written waits for its answer on the stream on which
/// it was written; what the server can't take now waits for its time, and everything behind it too, so that the order suffers least
/// and nothing is written twice on one stream.
struct SendLanes: Sendable {
    struct Entry: Sendable {
        var id: ClientMessageID
        var receiver: PartyID
        var type: MessageType
        var payload: ByteBuffer
        var sequence: MessageSequence
    }

    struct Lane: Sendable {
        var stream: StreamNumber?
        /// Written on `stream`, in this order.
        var inFlight: Deque<Entry> = []
        /// The server could not take these.
        var refused: [Entry] = []
        var waiting: Deque<Entry> = []
        /// Nothing is written before.
        var heldUntil: ContinuousClock.Instant?
        /// How many may be in flight: less after a refusal, so that a server which can't keep up is not asked for more.
        var window: Int
        /// Streams that ended without an answer, one after the other.
        var failures = 0
        var lastUse: UInt64 = 0

        var isEmpty: Bool { self.inFlight.isEmpty && self.refused.isEmpty && self.waiting.isEmpty }
    }

    /// What a lane may do now.
    enum Step: Sendable {
        case nothing
        case wait(until: ContinuousClock.Instant)
        case write([Entry])
    }

    /// What a lane could do, if it had a stream.
    enum Outlook: Sendable {
        case nothing
        case wait(until: ContinuousClock.Instant)
        case ready
    }

    private(set) var lanes: [PartyID: Lane] = [:]
    private var receivers: [StreamNumber: PartyID] = [:]
    /// Receivers that could be written to, had they a stream: in the order in which they get one.
    private var streamless: Deque<PartyID> = []
    private var isStreamless: Set<PartyID> = []
    /// Messages for which the outbox has no room yet.
    private(set) var outside: Deque<Entry> = []
    /// Messages in the outbox.
    private(set) var count = 0
    private(set) var inFlightCount = 0
    private var nextSequence = MessageSequence.zero
    private var uses: UInt64 = 0
    private let capacity: Int
    private let window: Int

    init(capacity: Int, window: Int) {
        self.capacity = max(1, capacity)
        self.window = max(1, window)
    }

    // MARK: In

    /// Takes a message, at once or when there is room: then ``admit()`` says so.
    ///
    /// - Returns: whether there was room.
    mutating func append(
        _ payload: ByteBuffer, type: MessageType, to receiver: PartyID, id: ClientMessageID
    ) -> Bool {
        let entry = Entry(id: id, receiver: receiver, type: type, payload: payload, sequence: .zero)
        guard self.count < self.capacity, self.outside.isEmpty else {
            self.outside.append(entry)
            return false
        }
        self.enter(entry)
        return true
    }

    private mutating func enter(_ entry: Entry) {
        var entry = entry
        self.nextSequence = self.nextSequence.next
        entry.sequence = self.nextSequence
        self.lanes[entry.receiver, default: Lane(window: self.window)].waiting.append(entry)
        self.count += 1
    }

    /// Lets those in who waited for room.
    mutating func admit() -> [Entry] {
        var admitted: [Entry] = []
        while self.count < self.capacity, let entry = self.outside.popFirst() {
            self.enter(entry)
            admitted.append(entry)
        }
        return admitted
    }

    /// - Returns: whether the message waited for room, and does so no more.
    mutating func withdraw(_ id: ClientMessageID) -> Bool {
        guard let index = self.outside.firstIndex(where: { $0.id == id }) else { return false }
        self.outside.remove(at: index)
        return true
    }

    // MARK: Out

    /// Receivers for whom something waits, in an order that does not change from run to run.
    var receiversToServe: [PartyID] {
        self.lanes.filter { !$0.value.waiting.isEmpty || !$0.value.refused.isEmpty }.keys
            .sorted { $0.rawValue < $1.rawValue }
    }

    func stream(of receiver: PartyID) -> StreamNumber? { self.lanes[receiver]?.stream }

    /// Whether ``next(for:at:)`` has something to write; changes nothing.
    func outlook(for receiver: PartyID, at now: ContinuousClock.Instant) -> Outlook {
        guard let lane = self.lanes[receiver] else { return .nothing }
        if let held = lane.heldUntil, held > now { return .wait(until: held) }
        guard lane.inFlight.isEmpty || lane.refused.isEmpty else { return .nothing }
        let hasSome = !lane.refused.isEmpty || !lane.waiting.isEmpty
        return hasSome && lane.window > lane.inFlight.count ? .ready : .nothing
    }

    /// What to write for `receiver` now; it counts as written from now on if there is a stream.
    mutating func next(for receiver: PartyID, at now: ContinuousClock.Instant) -> Step {
        guard var lane = self.lanes[receiver] else { return .nothing }
        if let held = lane.heldUntil {
            guard held <= now else { return .wait(until: held) }
            lane.heldUntil = nil
        }
        if !lane.refused.isEmpty {
            // What was written behind them has its answer first: they would overtake each other once more.
            guard lane.inFlight.isEmpty else { return .nothing }
            lane.waiting.prepend(contentsOf: lane.refused)
            lane.refused = []
        }
        let room = lane.window - lane.inFlight.count
        guard room > 0, !lane.waiting.isEmpty else {
            self.lanes[receiver] = lane
            return .nothing
        }
        let batch = Array(lane.waiting.prefix(room))
        lane.waiting.removeFirst(batch.count)
        lane.inFlight.append(contentsOf: batch)
        self.uses += 1
        lane.lastUse = self.uses
        self.inFlightCount += batch.count
        self.lanes[receiver] = lane
        return .write(batch)
    }

    mutating func opened(_ stream: StreamNumber, for receiver: PartyID) {
        self.lanes[receiver]?.stream = stream
        self.receivers[stream] = receiver
    }

    var streamCount: Int { self.receivers.count }

    /// The stream that has nothing to do for longest: its receiver has no messages, or has to wait with them.
    mutating func takeIdleStream(at now: ContinuousClock.Instant) -> StreamNumber? {
        // Streams are few, lanes may be many.
        let idle = self.receivers.filter { self.isIdle($0.value, at: now) }
        let oldest = idle.min { self.lanes[$0.value]?.lastUse ?? 0 < self.lanes[$1.value]?.lastUse ?? 0 }
        guard let (stream, receiver) = oldest else { return nil }
        self.receivers[stream] = nil
        self.lanes[receiver]?.stream = nil
        if self.lanes[receiver]?.isEmpty == true { self.lanes[receiver] = nil }
        return stream
    }

    /// Whether the receiver's stream could be another's.
    func isIdle(_ receiver: PartyID, at now: ContinuousClock.Instant) -> Bool {
        guard let lane = self.lanes[receiver], lane.stream != nil, lane.inFlight.isEmpty else { return false }
        return lane.isEmpty || lane.heldUntil.map { $0 > now } ?? false
    }

    /// There is no stream for the receiver: it gets one in its turn.
    mutating func queueForStream(_ receiver: PartyID) {
        if self.isStreamless.insert(receiver).inserted { self.streamless.append(receiver) }
    }

    /// Whose turn it is to get a stream.
    mutating func nextStreamless() -> PartyID? {
        guard let receiver = self.streamless.popFirst() else { return nil }
        self.isStreamless.remove(receiver)
        return receiver
    }

    var hasStreamless: Bool { !self.streamless.isEmpty }

    // MARK: Answers

    func receiver(of stream: StreamNumber) -> PartyID? { self.receivers[stream] }

    /// The oldest message that was written on `stream`; `nil` when there is none, or when the answer is for another one: the server is wrong.
    private func answered(_ id: ClientMessageID?, _ receiver: PartyID) -> Entry? {
        guard let first = self.lanes[receiver]?.inFlight.first, id == nil || id == first.id else { return nil }
        return first
    }

    /// The server decided about the oldest message of `stream`: it leaves the outbox.
    mutating func settled(_ id: ClientMessageID?, on stream: StreamNumber) -> Entry? {
        guard let receiver = self.receivers[stream], let entry = self.answered(id, receiver) else { return nil }
        self.lanes[receiver]?.inFlight.removeFirst()
        self.lanes[receiver]?.failures = 0
        if let window = self.lanes[receiver]?.window { self.lanes[receiver]?.window = min(window + 1, self.window) }
        self.inFlightCount -= 1
        self.count -= 1
        return entry
    }

    /// The server can't take the oldest message of `stream` before `until`.
    ///
    /// - Returns: whether it is the first refusal for this receiver since something was written; `nil` as above.
    mutating func refused(
        _ id: ClientMessageID?, on stream: StreamNumber, until: ContinuousClock.Instant
    ) -> Bool? {
        guard let receiver = self.receivers[stream], let entry = self.answered(id, receiver),
            var lane = self.lanes[receiver]
        else { return nil }
        let isFirst = lane.refused.isEmpty
        lane.inFlight.removeFirst()
        lane.refused.append(entry)
        lane.heldUntil = max(lane.heldUntil ?? until, until)
        if isFirst { lane.window = max(1, lane.window / 2) }
        self.inFlightCount -= 1
        self.lanes[receiver] = lane
        return isFirst
    }

    // MARK: Losses

    /// A stream is over: what had no answer on it is written again.
    ///
    /// - Returns: the receiver, and how many streams failed for it in turn.
    mutating func lost(_ stream: StreamNumber) -> (receiver: PartyID, failures: Int)? {
        guard let receiver = self.receivers.removeValue(forKey: stream) else { return nil }
        self.lanes[receiver]?.failures += 1
        self.takeBack(receiver)
        return (receiver, self.lanes[receiver]?.failures ?? 1)
    }

    mutating func hold(_ receiver: PartyID, until: ContinuousClock.Instant) {
        let held = self.lanes[receiver]?.heldUntil ?? until
        self.lanes[receiver]?.heldUntil = max(held, until)
    }

    /// There is no connection any more. What the server asked us to wait with still waits.
    mutating func linkLost() {
        self.receivers = [:]
        self.streamless = []
        self.isStreamless = []
        for receiver in Array(self.lanes.keys) {
            self.takeBack(receiver)
            self.lanes[receiver]?.failures = 0
        }
    }

    private mutating func takeBack(_ receiver: PartyID) {
        guard var lane = self.lanes[receiver] else { return }
        self.inFlightCount -= lane.inFlight.count
        let again = (lane.refused + lane.inFlight).sorted { $0.sequence < $1.sequence }
        lane.waiting.prepend(contentsOf: again)
        lane.refused = []
        lane.inFlight = []
        lane.stream = nil
        self.lanes[receiver] = lane.isEmpty && lane.heldUntil == nil ? nil : lane
    }

    /// The client ends.
    ///
    /// - Returns: what will not be acknowledged any more.
    mutating func removeAll() -> [Entry] {
        let all = self.lanes.values.flatMap { Array($0.inFlight) + $0.refused + Array($0.waiting) } + self.outside
        self.lanes = [:]
        self.receivers = [:]
        self.streamless = []
        self.isStreamless = []
        self.outside = []
        self.count = 0
        self.inFlightCount = 0
        return all.sorted { ($0.sequence, $0.id.high, $0.id.low) < ($1.sequence, $1.id.high, $1.id.low) }
    }
}
