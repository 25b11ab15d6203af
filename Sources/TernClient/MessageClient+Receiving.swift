// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernTransport

/// What the server says.
extension MessageClient {
    nonisolated func readControl(of link: Link) async throws {
        var reader = link.controlReader.withLock { $0 }
        while let message = try await reader.next() {
            await self.heard(on: link)
            switch message.type {
            case .inbox:
                await self.noticed(try InboxNotice(message), on: link)
            case .receipt:
                self.queue.append(.receipt(try Receipt(message)))
                await self.queue.untilThereIsRoom()
            case .goOffline:
                self.queue.append(.serverIsDraining)
            case .error:
                throw ClientError.refused(try Failure(message))
            default:
                continue
            }
        }
        throw ClientError(.closed, message: "the server ended the conversation")
    }

    nonisolated func readPushes(of link: Link) async throws {
        try await withThrowingDiscardingTaskGroup { group in
            for try await stream in link.connection.inboundStreams {
                group.addTask { await link.failing { try await self.readPush(stream, of: link) } }
            }
        }
        throw ClientError(.closed, message: "the server closed the connection")
    }

    nonisolated private func readPush(_ stream: Stream, of link: Link) async throws {
        do {
            guard let (kind, rest) = try await stream.readKind() else { return }
            guard kind == .channelPush, stream.direction == .unidirectional else {
                stream.stopSending(code: CloseCode.unknownStreamKind.rawValue)
                if stream.direction == .bidirectional { stream.reset(code: CloseCode.unknownStreamKind.rawValue) }
                return
            }
            var reader = MessageReader(stream, first: rest)
            while let message = try await reader.next() {
                guard message.type.isContent else { continue }
                await self.received(try ChannelMessage(message), on: link)
                await self.queue.untilThereIsRoom()
            }
        } catch let error as TransportError where error.code == .streamReset {
            // The server gave up this stream, not the channel: what it lacks is pulled when an inbox message says so.
        } catch let error as WireError {
            throw ClientError(.protocolViolation, message: error.message, cause: error)
        }
    }

    nonisolated func readDatagrams(of link: Link) async throws {
        for try await bytes in link.connection.inboundDatagrams {
            guard let message = try? Message(decoding: bytes), let notice = try? LiveNotice(message) else { continue }
            self.queue.append(.notice(notice))
        }
    }

    /// Many receipts become one: a receipt is worth waiting this long for the next.
    private static var receiptDelay: Duration { .milliseconds(50) }

    nonisolated func sendReceipts(on link: Link) async throws {
        for await _ in self.receipts.signals {
            try await Task.sleep(for: Self.receiptDelay)
            var bytes = ByteBuffer()
            for (mark, sequence) in self.receipts.takeUnsent() {
                guard let receiver = mark.channel.receiver(for: link.answer.user) else { continue }
                let receipt = Receipt(
                    kind: mark.kind, sender: link.answer.user, senderDevice: nil, receiver: receiver, sequence: sequence
                )
                try receipt.message.encode(into: &bytes)
            }
            if bytes.readableBytes > 0 { try await link.control.write(bytes) }
        }
        try Task.checkCancellation()
    }

    // MARK: Logs

    func received(_ message: ChannelMessage, on link: Link) {
        self.heard(on: link)
        guard self.link === link, let start = self.configuration.receives else { return }
        let first = if case .sequence(let sequence) = start { sequence } else { message.sequence.rawValue }
        self.change(message.channel, epoch: message.epoch, first: first, on: link) { $0.received(message) }
    }

    private func noticed(_ notice: InboxNotice, on link: Link) {
        guard let channel = notice.channel, let start = self.configuration.receives else { return }
        let first = if case .sequence(let sequence) = start { sequence } else { notice.head.rawValue + 1 }
        self.change(channel, epoch: notice.epoch, first: first, on: link) {
            $0.headBecameKnown(notice.head.rawValue, mustPull: notice.mustPull)
        }
    }

    /// Reads the index, and by it learns what was missed.
    nonisolated func catchUp(on link: Link) async throws {
        guard self.configuration.receives != nil else { return }
        var cursor: UInt64 = 0
        repeat {
            let page = try await link.requests.perform(SyncIndex(cursor: cursor))
            for state in page.channels { await self.indexed(state, on: link) }
            cursor = try page.cursor(after: cursor)
        } while cursor != 0
    }

    func indexed(_ state: ChannelState, on link: Link) {
        guard let start = self.configuration.receives else { return }
        let first = if case .sequence(let sequence) = start { sequence } else { state.head.rawValue + 1 }
        self.change(state.channel, epoch: state.epoch, first: first, on: link) {
            $0.headBecameKnown(state.head.rawValue, first: state.first.rawValue)
        }
    }

    nonisolated func readGap(of channel: ChannelID, on link: Link) async throws {
        while let from = await self.beginReading(channel, on: link) {
            do {
                let page = try await link.requests.perform(History(channel: channel, from: from))
                // What belongs elsewhere would be delivered as if it were in its place.
                guard page.messages.allSatisfy({ $0.channel == channel && $0.epoch == page.epoch }) else {
                    throw ClientError(.protocolViolation, message: "a page with messages of another log")
                }
                await self.pageArrived(page, of: channel, on: link)
            } catch let error as ClientError where error.code == .refused {
                // We are no longer a member, say: the channel stays as it is.
                await self.readingFailed(channel)
                return
            }
            await self.queue.untilThereIsRoom()
        }
    }

    private func beginReading(_ channel: ChannelID, on link: Link) -> MessageSequence? {
        guard self.link === link else { return nil }
        return self.logs[channel]?.beginReading().flatMap { MessageSequence(rawValue: $0) }
    }

    private func readingFailed(_ channel: ChannelID) {
        self.logs[channel]?.readingFailed()
    }

    private func pageArrived(_ page: History.Answer, of channel: ChannelID, on link: Link) {
        guard self.link === link else { return }
        self.change(channel, epoch: page.epoch, first: 1, on: link, asksForPages: false) { $0.pageArrived(page) }
    }

    /// Puts a fact into a channel's log and delivers what follows from it.
    ///
    /// - Parameter first: the first sequence that is wanted, if the channel is new to us.
    private func change(
        _ channel: ChannelID, epoch: Epoch, first: UInt64, on link: Link, asksForPages: Bool = true,
        _ fact: (inout ChannelLog) -> [ChannelMessage]
    ) {
        var log = self.logs[channel] ?? ChannelLog(epoch: epoch, next: first)
        if log.epoch != epoch {
            log = ChannelLog(epoch: epoch, next: 1)
            self.receipts.forget(channel)
            self.queue.append(.channelRestarted(channel, epoch))
        }
        for message in fact(&log) { self.queue.append(.message(message)) }
        self.logs[channel] = log
        if asksForPages { link.post(.read(channel)) }
    }
}
