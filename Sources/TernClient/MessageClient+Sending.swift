// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernMessages
internal import TernTransport

/// One stream per receiver: messages out, answers in, in the same order.
extension MessageClient {
    /// The server refused a message for the moment: the stream is given up, and another begins with that message.
    private struct BeginAgain: Error {}

    nonisolated func sendMessages(to receiver: PartyID, on link: Link, signals: AsyncStream<Void>) async throws {
        let stream = try await link.connection.openStream()
        await self.streamBegan(for: receiver)
        do {
            try await self.converse(with: receiver, on: link, stream, signals: signals)
        } catch is BeginAgain {
            stream.reset(code: CloseCode.streamCancelled.rawValue)
            stream.stopSending(code: CloseCode.streamCancelled.rawValue)
            link.releaseSender(of: receiver)
            link.post(.send(to: receiver))
        }
    }

    private func streamBegan(for receiver: PartyID) {
        self.outbox.streamBegan(for: receiver)
    }

    nonisolated private func converse(
        with receiver: PartyID, on link: Link, _ stream: Stream, signals: AsyncStream<Void>
    ) async throws {
        var kind = ByteBuffer()
        StreamKind.channelSend.encode(into: &kind)
        try await stream.write(kind)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.readAnswers(from: stream, receiver: receiver, on: link) }
            group.addTask {
                for await _ in signals { try await self.writeMessages(to: receiver, on: link, stream) }
            }
            defer { group.cancelAll() }
            while try await group.next() != nil {}
        }
    }

    nonisolated private func writeMessages(to receiver: PartyID, on link: Link, _ stream: Stream) async throws {
        while true {
            let batch = await self.takeUnwritten(for: receiver)
            guard !batch.isEmpty else { return }
            var bytes = ByteBuffer()
            for entry in batch {
                let message = OutgoingMessage(
                    type: entry.type, sender: link.answer.user, receiver: receiver, sequence: entry.sequence,
                    id: entry.id,
                    timestamp: .none, isEncrypted: false, payload: entry.payload)
                try message.message.encode(into: &bytes)
            }
            try await stream.write(bytes)
        }
    }

    private func takeUnwritten(for receiver: PartyID) -> [Outbox.Entry] {
        let batch = self.outbox.takeUnwritten(for: receiver, limit: self.configuration.messagesInFlight)
        if !batch.isEmpty { self.health.beganWaiting(at: .now) }
        return batch
    }

    nonisolated private func readAnswers(from stream: Stream, receiver: PartyID, on link: Link) async throws {
        var reader = MessageReader(stream)
        while let message = try await reader.next() {
            switch message.type {
            case .acknowledgement:
                try await self.acknowledged(try Acknowledgement(message), for: receiver, on: link)
            case .error:
                try await self.refused(try Failure(message), for: receiver, on: link)
            default:
                continue
            }
        }
        throw ClientError(.protocolViolation, message: "the server ended a stream for messages")
    }

    private func acknowledged(_ answer: Acknowledgement, for receiver: PartyID, on link: Link) async throws {
        guard let entry = self.outbox.answered(answer.id, for: receiver),
            let channel = ChannelID(sender: PartyID(answer.sender), receiver: answer.receiver)
        else { throw ClientError(.protocolViolation, message: "an acknowledgement for another message") }
        self.madeProgress(for: receiver, on: link)
        entry.receipt.complete(
            .success(
                SentMessage(
                    channel: channel, epoch: answer.epoch, sequence: answer.sequence, id: answer.id,
                    timestamp: answer.timestamp, durability: answer.durability, carrier: link.connection.carrier,
                    isDuplicate: answer.isDuplicate)))
        self.received(
            ChannelMessage(
                type: entry.type, sender: link.answer.user, senderDevice: link.answer.device, receiver: receiver,
                channel: channel, epoch: answer.epoch, sequence: answer.sequence, previousSequence: nil,
                timestamp: answer.timestamp, id: answer.id, isEncrypted: false, payload: entry.payload),
            on: link)
        await self.queue.untilThereIsRoom()
    }

    private func refused(_ failure: Failure, for receiver: PartyID, on link: Link) async throws {
        guard let entry = self.outbox.answered(failure.id, for: receiver) else {
            throw ClientError(.protocolViolation, message: "an error for another message: \(failure.text)")
        }
        guard failure.isRetryable else {
            self.madeProgress(for: receiver, on: link)
            entry.receipt.complete(.failure(ClientError.refused(failure)))
            return
        }
        // Later messages may be stored already: the sooner this one follows, the less they are out of order. A new stream
        // begins with it, and what was stored is recognised.
        self.outbox.putBack(entry, for: receiver)
        self.health.answered(stillWaiting: false, at: .now)
        self.queue.append(.refusedForNow(failure))
        let delay = failure.retryAfter.map { Duration.milliseconds(Int($0)) } ?? Self.delayAfterRefusal
        try await Task.sleep(for: delay * .random(in: 1..<1.5))
        throw BeginAgain()
    }

    /// Where the server does not say how long to wait.
    private static var delayAfterRefusal: Duration { .seconds(1) }

    private func madeProgress(for receiver: PartyID, on link: Link) {
        self.health.answered(stillWaiting: self.outbox.awaitsAnswers, at: .now)
        link.post(.send(to: receiver))
        if self.outbox.count < self.configuration.outboxCapacity, let waiter = self.roomWaiters.popFirst() {
            waiter.resume()
        }
        if self.outbox.count == 0 { self.wakeWhoWaitsForEmpty() }
    }
}
