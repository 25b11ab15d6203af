// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization
import TernMessages
import TernServer
import TernStore
import TernTesting
import TernTransport

/// A server over a real store in a directory of its own, and clients in memory.
final class Harness: Sendable {
    let server: MessageServer
    let store: SQLiteMessageStore
    private let served = Mutex<[Task<Void, Never>]>([])

    private init(server: MessageServer, store: SQLiteMessageStore) {
        self.server = server
        self.store = store
    }

    /// Runs `body` with a server, and takes everything down after it.
    static func run(
        configure: (inout ServerConfiguration) -> Void = { _ in },
        store edit: (inout SQLiteMessageStore.Options) -> Void = { _ in },
        wrap: (SQLiteMessageStore) -> any MessageStore = { $0 }, logger given: Logger? = nil,
        _ body: (Harness) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
            "tern-server-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        var silent = Logger(label: "test")
        silent.logLevel = .critical
        let logger = given ?? silent
        var options = SQLiteMessageStore.Options()
        options.durability = .normal
        edit(&options)
        let store = try SQLiteMessageStore(directory: directory.path, options: options, logger: logger)
        var configuration = ServerConfiguration(name: try Name("tern"))
        configuration.acceptsDevelopmentTokens = true
        configuration.refusalLinger = .milliseconds(100)
        configuration.durability = .normal
        // However busy the machine is.
        configuration.authenticationTimeout = .seconds(240)
        configure(&configuration)
        let harness = Harness(
            server: MessageServer(store: wrap(store), configuration: configuration, logger: logger), store: store)
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(harness))
        } catch {
            result = .failure(error)
        }
        await harness.server.drain(grace: .zero)
        for task in harness.served.withLock({ $0 }) {
            task.cancel()
            await task.value
        }
        await store.close()
        try result.get()
    }

    func connect(limits: ConnectionLimits = ConnectionLimits()) -> Connection {
        let group = MultiThreadedEventLoopGroup.singleton
        let pair = InMemoryTransport.makePair(clientLoop: group.next(), serverLoop: group.next(), clientLimits: limits)
        let server = Connection(adopting: pair.server)
        let task = Task { await self.server.serve(server) }
        self.served.withLock { $0.append(task) }
        return Connection(adopting: pair.client)
    }

    /// An authenticated client with a development token.
    func client(_ token: String, limits: ConnectionLimits = ConnectionLimits()) async throws -> TestClient {
        try await TestClient(self.connect(limits: limits), token: "dev:" + token)
    }
}

struct Missing: Error {
    var what: String
}

/// Messages on one stream.
final class MessageStream: Sendable {
    let stream: TernTransport.Stream
    private let decoder = Mutex(MessageDecoder())

    init(_ stream: TernTransport.Stream) {
        self.stream = stream
    }

    static func open(_ kind: StreamKind, on connection: Connection) async throws -> MessageStream {
        let stream = MessageStream(try await connection.openStream())
        var bytes = ByteBuffer()
        kind.encode(into: &bytes)
        try await stream.stream.write(bytes)
        return stream
    }

    func write(_ message: Message) async throws {
        try await self.stream.write(message.encoded())
    }

    /// `nil` at the end of the stream.
    func next() async throws -> Message? {
        while true {
            if let message = try self.decoder.withLock({ try $0.next() }) { return message }
            guard let bytes = try await self.stream.read() else { return nil }
            self.decoder.withLock { $0.append(bytes) }
        }
    }

    func message() async throws -> Message {
        guard let message = try await self.next() else { throw Missing(what: "a message") }
        return message
    }

    func failure() async throws -> Failure { try Failure(await self.message()) }
    func acknowledgement() async throws -> Acknowledgement { try Acknowledgement(await self.message()) }
}

/// A client as small as the protocol allows.
final class TestClient: Sendable {
    let connection: Connection
    let control: MessageStream
    let answer: AuthenticationAnswer
    /// Every message that was pushed, in the order of its arrival.
    let pushes: AsyncStream<ChannelMessage>
    private let reader: Task<Void, Never>

    var user: UserID { self.answer.user }

    /// - Parameter readsPushes: otherwise the streams that the server opens are left alone.
    init(_ connection: Connection, token: String, readsPushes: Bool = true) async throws {
        self.connection = connection
        self.control = try await MessageStream.open(.control, on: connection)
        try await self.control.write(AuthenticationRequest(token: token, clientProgram: "tests").message)
        let message = try await self.control.message()
        if message.type == .error { throw try Failure(message) }
        self.answer = try AuthenticationAnswer(message)
        let (pushes, sink) = AsyncStream<ChannelMessage>.makeStream()
        self.pushes = pushes
        self.reader = Task {
            guard readsPushes else { return }
            await withDiscardingTaskGroup { group in
                do {
                    for try await stream in connection.inboundStreams {
                        group.addTask { await Self.read(stream, into: sink) }
                    }
                } catch {}
            }
            sink.finish()
        }
    }

    deinit {
        self.reader.cancel()
    }

    private static func read(
        _ stream: TernTransport.Stream, into sink: AsyncStream<ChannelMessage>.Continuation
    ) async {
        do {
            guard var first = try await stream.read(), let kind = StreamKind(decoding: &first), kind == .channelPush
            else { return }
            var decoder = MessageDecoder()
            decoder.append(first)
            while true {
                while let message = try decoder.next() { sink.yield(try ChannelMessage(message)) }
                guard let bytes = try await stream.read() else { return }
                decoder.append(bytes)
            }
        } catch {}
    }

    /// The next pushed messages.
    func nextPushes(_ count: Int) async -> [ChannelMessage] {
        var found: [ChannelMessage] = []
        for await message in self.pushes {
            found.append(message)
            if found.count == count { break }
        }
        return found
    }

    func sender() async throws -> MessageStream {
        try await MessageStream.open(.channelSend, on: self.connection)
    }

    func text(_ text: String, to receiver: PartyID, id: ClientMessageID = .random(), sequence: UInt64 = 0) -> Message {
        OutgoingMessage(
            sender: self.user, receiver: receiver, sequence: MessageSequence(rawValue: sequence) ?? .zero, id: id,
            payload: ByteBuffer(string: text)
        ).message
    }

    /// Sends one message on a stream of its own.
    @discardableResult
    func send(_ text: String, to receiver: PartyID, id: ClientMessageID = .random()) async throws -> Acknowledgement {
        let stream = try await self.sender()
        try await stream.write(self.text(text, to: receiver, id: id))
        let message = try await stream.message()
        if message.type == .error { throw try Failure(message) }
        try await stream.stream.finish()
        return try Acknowledgement(message)
    }

    /// Asks on a stream of its own.
    func ask<Request: RequestBody>(_ request: Request) async throws -> Request.Answer {
        let response = try await self.ask(frame: request.frame(identifier: 7))
        guard response.identifier == 7, response.resource == Request.resource else { throw Missing(what: "a response") }
        return try Request.answer(in: response)
    }

    func ask(frame: RequestFrame) async throws -> RequestFrame {
        let stream = try await self.connection.openStream()
        var bytes = ByteBuffer()
        StreamKind.requests.encode(into: &bytes)
        try frame.encode(into: &bytes)
        try await stream.finish(bytes)
        var decoder = RequestFrameDecoder(maximumBodyLength: RequestFrame.maximumResponseLength)
        while let bytes = try await stream.read() {
            decoder.append(bytes)
            if let response = try decoder.next() { return response }
        }
        throw Missing(what: "a response")
    }

    func close() async {
        await self.connection.close()
    }
}
