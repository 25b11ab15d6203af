// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
public import NIOCore
public import TernMessages
public import TernTransport

/// A client of a message server, over whatever connections it is given.
///
/// It connects, authenticates, sends, receives without gaps or duplicates, and comes back by itself: when a connection ends it opens
/// another one, sends again what was not acknowledged under the same client message ids, and reads what it missed.
///
/// ```swift
/// let connector = try Connector(applicationProtocol: .messages, tls: TLSClientConfiguration(trust: trust))
/// let client = MessageClient(ClientConfiguration(token: token)) { try await connector.connect(to: server) }
/// try await withThrowingTaskGroup(of: Void.self) { group in
///     group.addTask { try await client.run() }
///     let bob = try await client.resolveUser(Name("bob"))
///     let stored = try await client.send(ByteBuffer(string: "hello"), to: PartyID(bob))
///     print("stored as \(stored.sequence)")
///     await client.close()
/// }
/// ```
///
/// It takes `import Tern` and `import TernClient`; `.messages` is the ALPN of Docs/PROTOCOL.md.
public actor MessageClient {
    enum Phase {
        case idle
        case running
        case closing
        case ended(ClientError?)
    }

    nonisolated public let configuration: ClientConfiguration
    nonisolated let connect: @Sendable () async throws -> Connection
    nonisolated let queue: UpdateQueue
    nonisolated let receipts = ReceiptLedger()

    var phase = Phase.idle
    var outbox = Outbox()
    var logs: [ChannelID: ChannelLog] = [:]
    var link: Link?
    var linkWaiters: [CheckedContinuation<Link, any Error>] = []
    var roomWaiters: Deque<CheckedContinuation<Void, Never>> = []
    var emptyWaiters: [CheckedContinuation<Void, Never>] = []
    /// Of the present connection.
    var health: LinkHealth
    /// Ends a pause between two attempts.
    var pause: Task<Void, Never>?

    /// - Parameters:
    ///   - configuration: who the client is, and how it behaves.
    ///   - connect: opens a connection with the ALPN of Docs/PROTOCOL.md; called again whenever one was lost.
    public init(_ configuration: ClientConfiguration, connect: @escaping @Sendable () async throws -> Connection) {
        self.configuration = configuration
        self.connect = connect
        self.queue = UpdateQueue(capacity: configuration.updateCapacity)
        self.health = LinkHealth(configuration.liveness, now: .now)
    }

    /// What happens, for one reading task. Ends when the client ends; throws why, if it was not closed.
    nonisolated public var updates: ClientUpdates { ClientUpdates(client: self) }

    // MARK: Sending

    /// Sends a message and waits until the server stored it.
    ///
    /// - Parameters:
    ///   - payload: the server does not look inside.
    ///   - receiver: a user, or a group that we are a member of.
    ///   - type: what the payload is to those who read it.
    /// - Throws: ``ClientError``.
    @discardableResult
    public func send(
        _ payload: ByteBuffer, to receiver: PartyID, type: MessageType = .text
    ) async throws -> SentMessage {
        try await self.enqueue(payload, to: receiver, type: type).acknowledgement()
    }

    /// Queues a message and does not wait for its acknowledgement. Suspends while the outbox is full.
    ///
    /// Messages for one receiver are stored in the order of these calls, except that a message which the server refused for the
    /// moment (rate limit, full disk) may come after later ones.
    ///
    /// - Throws: ``ClientError``; ``ClientError/Code/refused`` for a payload that no message has room for.
    public func enqueue(
        _ payload: ByteBuffer, to receiver: PartyID, type: MessageType = .text
    ) async throws -> SendReceipt {
        let limit = MessageHeader.maximumPayloadLength
        guard payload.readableBytes <= limit else {
            // It could not be written: the connection would fail by it, and the next one, and so on.
            throw ClientError.refused(
                Failure(.payloadTooLarge, "a payload of \(payload.readableBytes) bytes; \(limit) are the most"))
        }
        while self.outbox.count >= self.configuration.outboxCapacity, self.isOpen {
            await withCheckedContinuation { self.roomWaiters.append($0) }
        }
        try self.checkOpen()
        let id = ClientMessageID.random()
        let receipt = SendReceipt(id: id)
        self.outbox.append(payload, type: type, to: receiver, id: id, receipt: receipt)
        self.link?.post(.send(to: receiver))
        return receipt
    }

    /// Says that the user has seen a channel up to `sequence`. It reaches the server a little later, or after a reconnect.
    nonisolated public func markRead(_ channel: ChannelID, upTo sequence: MessageSequence) {
        self.receipts.reached(sequence, of: channel, .read)
    }

    /// Sends a typing or presence notice to whoever is online; unreliable, and dropped without a connection.
    public func notify(_ type: MessageType, _ state: LiveNotice.State, to receiver: PartyID) async {
        guard let link else { return }
        let notice = LiveNotice(type: type, state: state, sender: link.answer.user, receiver: receiver)
        guard let bytes = try? notice.message.encoded() else { return }
        _ = try? await link.connection.sendDatagram(bytes)
    }

    // MARK: Ending

    /// Waits until everything is acknowledged, at most for `timeout`, and ends the client. Messages without acknowledgement fail
    /// with ``ClientError/Code/closed``.
    public func close(timeout: Duration = .seconds(10)) async {
        if self.outbox.count > 0, self.isOpen {
            _ = try? await withTimeout(timeout, "the server did not acknowledge everything") { await self.untilEmpty() }
        }
        guard self.isOpen else { return }
        let wasIdle = if case .idle = self.phase { true } else { false }
        self.phase = .closing
        self.pause?.cancel()
        await self.link?.connection.close()
        if wasIdle { self.end(nil) }
    }

    private func untilEmpty() async {
        while self.outbox.count > 0, self.isOpen, !Task.isCancelled {
            await withTaskCancellationHandler {
                await withCheckedContinuation { self.emptyWaiters.append($0) }
            } onCancel: {
                Task { await self.wakeWhoWaitsForEmpty() }
            }
        }
    }

    func wakeWhoWaitsForEmpty() {
        let waiters = self.emptyWaiters
        self.emptyWaiters = []
        for waiter in waiters { waiter.resume() }
    }

    var isOpen: Bool {
        switch self.phase {
        case .idle, .running: true
        case .closing, .ended: false
        }
    }

    func checkOpen() throws {
        switch self.phase {
        case .idle, .running: return
        case .closing: throw ClientError(.closed, message: "the client is closing")
        case .ended(let error): throw error ?? ClientError(.closed, message: "the client was closed")
        }
    }

    /// Nothing more will happen.
    func end(_ error: ClientError?) {
        if case .ended = self.phase { return }
        self.phase = .ended(error)
        let closed = error ?? ClientError(.closed, message: "the client was closed")
        for receipt in self.outbox.removeAll() { receipt.complete(.failure(closed)) }
        for waiter in self.linkWaiters { waiter.resume(throwing: closed) }
        for waiter in self.roomWaiters { waiter.resume() }
        self.linkWaiters = []
        self.roomWaiters = []
        self.wakeWhoWaitsForEmpty()
        self.queue.finish(error.map { .failure($0) } ?? .success(()))
    }
}

/// The updates of a ``MessageClient``.
public struct ClientUpdates: AsyncSequence, Sendable {
    let client: MessageClient

    public func makeAsyncIterator() -> Iterator { Iterator(client: self.client) }

    public struct Iterator: AsyncIteratorProtocol {
        let client: MessageClient

        /// - Throws: ``ClientError`` with which the client ended, or `CancellationError`.
        public mutating func next() async throws -> ClientUpdate? {
            let update = try await self.client.queue.next()
            if case .message(let message) = update, self.client.configuration.sendsDeliveredReceipts {
                self.client.receipts.reached(message.sequence, of: message.channel, .delivered)
            }
            return update
        }
    }
}
