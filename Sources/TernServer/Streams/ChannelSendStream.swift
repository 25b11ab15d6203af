// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernMessages
internal import TernStore
internal import TernTransport

/// A stream of messages for one receiver: they are stored in the order in which they came, many at a time, and
/// answered in that order.
struct ChannelSendStream: Sendable {
    let server: MessageServer
    let session: Session
    let stream: TernTransport.Stream

    /// A message that is to be stored, or the refusal of one.
    private enum Item: Sendable {
        case draft(Draft, PartyID, MessageSequence)
        case refusal(Failure)

        /// The memory that it holds until it is answered, with its place in line and its answer.
        var cost: Int {
            switch self {
            case .draft(let draft, _, _): 512 + draft.payload.storageCapacity
            case .refusal: 512
            }
        }
    }

    /// An item, and how much of the session's room it took.
    private struct Queued: Sendable {
        var item: Item
        var room: Int
    }

    /// At most this many messages are stored and answered together.
    private static let batchCount = 512

    func run(first: ByteBuffer) async {
        // The session's room bounds it, on all streams together.
        let queue = BoundedQueue<Queued>(capacity: .max)
        await withDiscardingTaskGroup { group in
            group.addTask { await self.storeAndAnswer(queue) }
            await self.read(first, into: queue)
            queue.finish()
        }
    }

    // MARK: Reading

    private func read(_ first: ByteBuffer, into queue: BoundedQueue<Queued>) async {
        var reader = MessageReader(
            stream: self.stream, first: first,
            maximumPayloadLength: self.server.configuration.maximumPayloadLength,
            heard: { [session] in session.heard() })
        var receiver: PartyID?
        while true {
            do throws(WireError) {
                guard let message = try await reader.next() else { break }
                await self.put(self.item(message, receiver: &receiver), into: queue)
            } catch {
                // Refused or not, the first message says whom the stream is for.
                receiver = receiver ?? error.header?.receiver
                await self.put(.refusal(Failure(error)), into: queue)
                guard error.isSkipped else {
                    return self.stream.stopSending(code: CloseCode.streamUnsupportedVersion.rawValue)
                }
            }
        }
        do throws(WireError) {
            try reader.finish()
        } catch {
            await self.put(.refusal(Failure(error)), into: queue)
        }
    }

    /// Waits for room.
    private func put(_ item: Item, into queue: BoundedQueue<Queued>) async {
        let room = await self.session.withoutReading { await self.session.sendRoom.take(item.cost) }
        if !queue.pushNow(Queued(item: item, room: room), cost: 0) { self.session.sendRoom.giveBack(room) }
    }

    private func item(_ message: Message, receiver: inout PartyID?) -> Item {
        let id = try? message.extensions.clientMessageID
        let bound = receiver ?? message.receiver
        receiver = bound
        if let refusal = self.session.refuseAboveRate(sequence: message.sequence, id: id) { return .refusal(refusal) }
        guard message.sender == .server || message.sender == PartyID(self.session.user) else {
            return .refusal(
                Failure(.unauthenticated, "the sender is somebody else", sequence: message.sequence, id: id))
        }
        guard message.receiver == bound else {
            return .refusal(
                Failure(.wrongChannel, "this stream is for \(bound)", sequence: message.sequence, id: id))
        }
        var message = message
        message.sender = PartyID(self.session.user)
        return self.draft(message, id: id)
    }

    private func draft(_ message: Message, id: ClientMessageID?) -> Item {
        do throws(WireError) {
            let outgoing = try OutgoingMessage(message)
            guard let channel = message.channel else {
                throw WireError(.malformed, "the receiver is neither a user nor a group")
            }
            guard self.server.hub.isMember(self.session.user, of: channel) else {
                throw WireError(.notAMember, "not a member of \(channel)")
            }
            if let refusal = self.refuseAboveFanOut(channel, outgoing) { return .refusal(refusal) }
            let flags: MessageFlags = outgoing.isEncrypted ? .encrypted : []
            let draft = Draft(
                channel: ChannelKey(channel), sender: self.session.deviceKey, key: IdempotencyKey(outgoing.id),
                type: outgoing.type.rawValue, flags: flags.rawValue, clientTimestamp: outgoing.timestamp.rawValue,
                payload: outgoing.payload)
            return .draft(draft, outgoing.receiver, outgoing.sequence)
        } catch {
            return .refusal(Failure(error.code, error.message, sequence: message.sequence, id: id))
        }
    }

    /// A message that many will hear counts as several.
    private func refuseAboveFanOut(_ channel: ChannelID, _ message: OutgoingMessage) -> Failure? {
        let users = self.server.hub.audience(of: ChannelKey(channel))
        let weight = users / max(1, self.server.configuration.deliveriesPerMessage)
        guard weight > 0 else { return nil }
        return self.session.refuseAboveRate(cost: weight, sequence: message.sequence, id: message.id)
    }

    // MARK: Storing

    private func storeAndAnswer(_ queue: BoundedQueue<Queued>) async {
        while var items = await queue.takeAll() {
            while !items.isEmpty {
                let batch = Array(items.prefix(Self.batchCount))
                items.removeFirst(batch.count)
                let answers = await self.store(batch.map(\.item))
                // A client that is gone gets no answers; what it sent is stored all the same, and it can ask again.
                try? await self.stream.write(answers)
                self.session.sendRoom.giveBack(batch.reduce(0) { $0 + $1.room })
            }
        }
        try? await self.stream.finish()
    }

    private func store(_ batch: [Item]) async -> ByteBuffer {
        let drafts = batch.compactMap { item in if case .draft(let draft, _, _) = item { draft } else { nil } }
        self.session.beginSending(drafts)
        var results = Deque(await self.server.store.append(contentsOf: drafts))
        self.session.endSending(drafts)
        var buffer = ByteBuffer()
        for item in batch {
            let answer: Message
            switch item {
            case .refusal(let failure):
                answer = failure.message
            case .draft(let draft, let receiver, let sequence):
                guard let result = results.popFirst() else { continue }
                answer = self.answer(result, draft, receiver, sequence)
            }
            // Our own answers are within the format's limits.
            try? answer.encode(into: &buffer)
        }
        return buffer
    }

    private func answer(
        _ result: Result<TernStore.Receipt, StoreError>, _ draft: Draft, _ receiver: PartyID,
        _ sequence: MessageSequence
    ) -> Message {
        let id = ClientMessageID(high: draft.key.high, low: draft.key.low)
        switch result {
        case .success(let receipt):
            return Acknowledgement(
                sender: self.session.user, receiver: receiver, sequence: MessageSequence(stored: receipt.sequence),
                timestamp: MessageTimestamp(stored: receipt.timestamp), id: id,
                epoch: Epoch(rawValue: UInt64(receipt.epoch)), durability: self.server.configuration.durability,
                isDuplicate: receipt.isDuplicate
            ).message
        case .failure(let error):
            let notFound: ErrorCode = receiver.group == nil ? .noSuchUser : .noSuchChannel
            return Failure(error, notFound: notFound, sequence: sequence, id: id).message
        }
    }
}
