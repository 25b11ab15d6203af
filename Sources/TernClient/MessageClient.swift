// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

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
/// let follower = NetworkFollower()
/// let client = MessageClient(ClientConfiguration(token: token)) {
///     try await connector.connect(to: server)
/// } whileConnected: {
///     await follower.follow($0)
/// }
/// try await withThrowingTaskGroup(of: Void.self) { group in
///     group.addTask { try await client.run() }
///     let bob = try await client.resolveUser(Name("bob"))
///     let stored = try await client.send(ByteBuffer(string: "hello"), to: PartyID(bob))
///     print("stored as \(stored.sequence)")
///     await client.close()
/// }
/// ```
///
/// It takes `import Tern` and `import TernClient`; `.messages` is the ALPN of Docs/PROTOCOL.md. The follower moves each connection with
/// the device from network to network; without it a client notices after ``LivenessPolicy/idlePingInterval`` that nothing comes any more.
///
/// **Isolation.** Every method may be called from any task. Whatever waits ends with `CancellationError` when its task is cancelled,
/// and disturbs nobody else.
public final class MessageClient: Sendable {
    let driver: ClientDriver

    public var configuration: ClientConfiguration { self.driver.configuration }

    /// - Parameters:
    ///   - configuration: who the client is, and how it behaves.
    ///   - connect: opens a connection with the ALPN of Docs/PROTOCOL.md; called again whenever one was lost. Its task is cancelled
    ///     when the connection is not wanted any more.
    ///   - whileConnected: accompanies each connection, in a task of its own that is cancelled when the connection is not wanted any
    ///     more; the client closes the connection when it returned. That it returns before has no consequences.
    public init(
        _ configuration: ClientConfiguration, connect: @escaping @Sendable () async throws -> Connection,
        whileConnected: (@Sendable (Connection) async -> Void)? = nil
    ) {
        self.driver = ClientDriver(configuration, connect: connect, whileConnected: whileConnected)
    }

    /// Keeps the client connected until ``close(timeout:)``. Call it once, in a task of its own.
    ///
    /// - Throws: ``ClientError`` when the server refuses the token, or when ``ReconnectPolicy`` gives up; or `CancellationError`.
    public func run() async throws {
        try await self.driver.run()
    }

    /// What happens, for one reading task. Ends when the client ends; throws why, if it was not closed.
    public var updates: ClientUpdates { ClientUpdates(client: self) }

    // MARK: Sending

    /// Sends a message and waits until the server stored it.
    ///
    /// - Parameters:
    ///   - payload: the server does not look inside.
    ///   - receiver: a user, or a group that we are a member of.
    ///   - type: what the payload is to those who read it.
    ///   - id: see ``enqueue(_:to:type:id:)``.
    /// - Throws: ``ClientError``; or `CancellationError`, after which the message may be sent all the same.
    @discardableResult
    public func send(
        _ payload: ByteBuffer, to receiver: PartyID, type: MessageType = .text, id: ClientMessageID = .random()
    ) async throws -> SentMessage {
        try await self.enqueue(payload, to: receiver, type: type, id: id).acknowledgement()
    }

    /// Queues a message and does not wait for its acknowledgement. Suspends while the outbox is full.
    ///
    /// Messages for one receiver are stored in the order of these calls, except that a message which the server refused for the
    /// moment (rate limit, full disk) may come after later ones.
    ///
    /// - Parameters:
    ///   - payload: the server does not look inside.
    ///   - receiver: a user, or a group that we are a member of.
    ///   - type: what the payload is to those who read it.
    ///   - id: by which the server knows the message, and stores it once however often it is sent: also by an application that keeps
    ///     what is not acknowledged, and sends it again after it was started anew. One id for each message.
    /// - Throws: ``ClientError``; ``ClientError/Code/refused`` for a payload that no message has room for; or `CancellationError` when
    ///   the task was cancelled while there was no room: then the message is not sent.
    public func enqueue(
        _ payload: ByteBuffer, to receiver: PartyID, type: MessageType = .text, id: ClientMessageID = .random()
    ) async throws -> SendReceipt {
        try await self.driver.enqueue(payload, to: receiver, type: type, id: id)
    }

    /// Says that the user has seen a channel up to `sequence`. It reaches the server a little later, or after a reconnect.
    ///
    /// `sequence` is one of the messages that ``updates`` gave, or from before them. When the channel's log began anew
    /// (``ClientUpdate/channelRestarted(_:_:)``) what is said after that update was taken is of the new log; see also ``markRead(_:)``.
    public func markRead(_ channel: ChannelID, upTo sequence: MessageSequence) {
        self.driver.tell { $0.markRead(channel, upTo: sequence, epoch: nil, now: $1) }
    }

    /// Says that the user has seen a channel up to `message`. Nothing happens when the channel's log began anew since.
    public func markRead(_ message: ChannelMessage) {
        self.driver.tell { $0.markRead(message.channel, upTo: message.sequence, epoch: message.epoch, now: $1) }
    }

    /// Sends a typing or presence notice to whoever is online; unreliable, and dropped without a connection.
    public func notify(_ type: MessageType, _ state: LiveNotice.State, to receiver: PartyID) async {
        self.driver.tell { machine, _ in machine.notify(type, state, to: receiver) }
    }

    // MARK: Ending

    /// Waits until everything is acknowledged, at most for `timeout`, and ends the client. Messages without acknowledgement fail
    /// with ``ClientError/Code/closed``. From this call on no others are taken, and from its return on nothing is sent any more.
    ///
    /// What was read and received by then is told to the server, if that is possible within a second. A cancelled task closes at once.
    public func close(timeout: Duration = .seconds(10)) async {
        await self.driver.close(timeout: timeout)
    }
}

/// The updates of a ``MessageClient``.
public struct ClientUpdates: AsyncSequence, Sendable {
    let client: MessageClient

    public func makeAsyncIterator() -> Iterator { Iterator(client: self.client) }

    public struct Iterator: AsyncIteratorProtocol {
        let client: MessageClient

        /// - Throws: ``ClientError`` with which the client ended, or `CancellationError`.
        public mutating func next() async throws -> ClientUpdate? { try await self.client.driver.nextUpdate() }
    }
}
