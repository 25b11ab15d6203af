// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernTransport

/// The tasks of one connection: they carry bytes, and tell the machine what came.
final class LinkTasks: Sendable {
    /// What a task is to write, in order. What is in it, the machine bounds.
    struct Pipe<Element: Sendable>: Sendable {
        let elements: AsyncStream<Element>
        let sink: AsyncStream<Element>.Continuation

        init(newest count: Int? = nil) {
            (self.elements, self.sink) = AsyncStream.makeStream(
                bufferingPolicy: count.map { .bufferingNewest($0) } ?? .unbounded)
        }
    }

    private struct State {
        var connection: Connection?
        var code = CloseCode.none
        var sends: [StreamNumber: Pipe<[OutgoingMessage]>] = [:]
    }

    let number: LinkNumber
    let control = Pipe<[Message]>()
    let requests = Pipe<RequestFrame>()
    /// Typing and presence are of the moment.
    let datagrams = Pipe<Message>(newest: 64)
    private let driver: ClientDriver
    private let jobs = Pipe<ClientDriver.Job>()
    private let state = Mutex(State())

    init(number: LinkNumber, driver: ClientDriver) {
        self.number = number
        self.driver = driver
    }

    // MARK: From the machine

    func adopt(_ connection: Connection) {
        self.state.withLock { $0.connection = connection }
    }

    /// Ends all tasks, and the connection.
    func end(_ code: CloseCode) {
        self.state.withLock { $0.code = code }
        self.jobs.sink.finish()
    }

    func authenticate() {
        self.start { connection in try await self.converse(over: connection) }
    }

    func measure() {
        self.start { connection in
            let counts = await connection.statistics()
            let volume = LinkVolume(
                carrier: connection.carrier, sent: counts.bytesSent, received: counts.bytesReceived)
            self.driver.tell { $0.measured(self.number, volume, now: $1) }
        }
    }

    func openSendStream(_ stream: StreamNumber) {
        let pipe = Pipe<[OutgoingMessage]>()
        self.state.withLock { $0.sends[stream] = pipe }
        self.start { connection in await self.send(pipe.elements, as: stream, over: connection) }
    }

    func write(_ messages: [OutgoingMessage], to stream: StreamNumber) {
        self.state.withLock { $0.sends[stream] }?.sink.yield(messages)
    }

    func finishSendStream(_ stream: StreamNumber) {
        self.state.withLock { $0.sends.removeValue(forKey: stream) }?.sink.finish()
    }

    // MARK: Tasks

    /// Until ``end(_:)``.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.connect() }
            for await job in self.jobs.elements { group.addTask { await job() } }
            group.cancelAll()
        }
        let (connection, code) = self.state.withLock { ($0.connection.take(), $0.code) }
        await connection?.close(code: code.rawValue)
    }

    private func connect() async {
        do {
            let connection = try await self.driver.connect()
            guard self.driver.arrived(connection, for: self) else { return await connection.close() }
            if let accompany = self.driver.whileConnected { self.start { await accompany($0) } }
        } catch {
            self.failed(error)
        }
    }

    private func failed(_ error: any Error) {
        self.driver.tell { $0.linkEnded(self.number, error, now: $1) }
    }

    /// Starts a task whose failure is that of the link.
    private func start(_ body: @escaping @Sendable (Connection) async throws -> Void) {
        guard let connection = self.state.withLock({ $0.connection }) else { return }
        self.jobs.sink.yield {
            do { try await body(connection) } catch { self.failed(error) }
        }
    }

    // MARK: Control

    private func converse(over connection: Connection) async throws {
        let stream = try await connection.openStream()
        stream.setPriority(.highest)
        var reader = MessageReader(stream)
        let answer: AuthenticationAnswer
        let token = try await self.currentToken()
        do {
            try await self.authenticate(with: token, on: stream)
            // Pings may follow before the answer.
            self.start { _ in try await self.writeControl(to: stream) }
            answer = try await Self.readAnswer(&reader)
        } catch {
            throw try await Self.refusal(error, mayTryAgain: self.hasAnotherToken(than: token, after: error))
        }
        self.driver.tell { $0.authenticated(self.number, answer, over: connection.carrier, now: $1) }
        self.start { connection in try await self.askOver(connection) }
        self.start { connection in try await self.readPushes(of: connection) }
        self.start { connection in try await self.readDatagrams(of: connection) }
        self.start { connection in try await self.sendDatagrams(over: connection) }
        while let message = try await reader.next() {
            self.driver.tell { $0.controlArrived(self.number, message, now: $1) }
        }
        self.driver.tell { $0.controlEnded(self.number, now: $1) }
    }

    private func currentToken() async throws -> String {
        try await self.driver.configuration.tokenSource?() ?? self.driver.configuration.token
    }

    /// Whether the server may say something else of the token that there is by now.
    private func hasAnotherToken(than token: String, after error: any Error) async throws -> Bool {
        guard let code = (error as? Failure)?.code, code == .tokenExpired || code == .tokenNotYetValid else {
            return false
        }
        return try await self.currentToken() != token
    }

    private func authenticate(with token: String, on stream: TernTransport.Stream) async throws {
        var first = ByteBuffer()
        StreamKind.control.encode(into: &first)
        try AuthenticationRequest(token: token, clientProgram: self.driver.configuration.program).message
            .encode(into: &first)
        try await stream.write(first)
    }

    private static func readAnswer(_ reader: inout MessageReader) async throws -> AuthenticationAnswer {
        guard let message = try await reader.next() else {
            throw ClientError(.protocolViolation, message: "the server ended the control stream")
        }
        if message.type == .error { throw try Failure(message) }
        return try AuthenticationAnswer(message)
    }

    private func writeControl(to stream: TernTransport.Stream) async throws {
        for await messages in self.control.elements {
            var bytes = ByteBuffer()
            for message in messages { try message.encode(into: &bytes) }
            try await stream.write(bytes)
            self.driver.tell { $0.controlWritten(self.number, now: $1) }
        }
    }

    // MARK: Sending

    private func send(
        _ batches: AsyncStream<[OutgoingMessage]>, as number: StreamNumber, over connection: Connection
    ) async {
        do {
            let stream = try await connection.openStream()
            var kind = ByteBuffer()
            StreamKind.channelSend.encode(into: &kind)
            try await stream.write(kind)
            self.start { _ in try await self.readAnswers(from: stream, as: number) }
            for await messages in batches {
                var bytes = ByteBuffer()
                for message in messages { try message.message.encode(into: &bytes) }
                try await stream.write(bytes)
            }
            try await stream.finish()
        } catch {
            self.ended(number)
        }
    }

    private func readAnswers(from stream: TernTransport.Stream, as number: StreamNumber) async throws {
        var reader = MessageReader(stream)
        do {
            while let message = try await reader.next() {
                self.driver.tell { $0.answered(self.number, number, message, now: $1) }
            }
        } catch let error as ClientError {
            // What came is not what the page says.
            throw error
        } catch {
            // The stream is over, perhaps without the connection.
        }
        self.ended(number)
    }

    private func ended(_ stream: StreamNumber) {
        self.finishSendStream(stream)
        self.driver.tell { $0.sendStreamEnded(self.number, stream, now: $1) }
    }

    // MARK: Requests

    private func askOver(_ connection: Connection) async throws {
        let stream = try await connection.openStream()
        var kind = ByteBuffer()
        StreamKind.requests.encode(into: &kind)
        try await stream.write(kind)
        self.start { _ in try await self.readResponses(from: stream) }
        for await frame in self.requests.elements { try await stream.write(try frame.encoded()) }
    }

    private func readResponses(from stream: TernTransport.Stream) async throws {
        var decoder = RequestFrameDecoder(maximumBodyLength: RequestFrame.maximumResponseLength)
        while let bytes = try await stream.read() {
            decoder.append(bytes)
            while let frame = try decoder.next() {
                self.driver.tell { $0.responded(self.number, frame, now: $1) }
            }
        }
        throw ClientError(.protocolViolation, message: "the server ended the stream of requests")
    }

    // MARK: Pushes

    private func readPushes(of connection: Connection) async throws {
        for try await stream in connection.inboundStreams {
            self.start { _ in try await self.readPush(stream) }
        }
        throw ClientError(.closed, message: "the server closed the connection")
    }

    private func readPush(_ stream: TernTransport.Stream) async throws {
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
                let pushed = try ChannelMessage(message)
                self.driver.tell { $0.pushed(self.number, pushed, now: $1) }
                try await self.driver.untilThereIsRoom()
            }
        } catch let error as TransportError where error.code == .streamReset {
            // The server gave up this stream, not the channel: what it lacks is pulled when an inbox message says so.
        } catch let error as WireError {
            throw ClientError(.protocolViolation, message: error.message, cause: error)
        }
    }

    // MARK: Datagrams

    private func readDatagrams(of connection: Connection) async throws {
        for try await bytes in connection.inboundDatagrams {
            guard let message = try? Message(decoding: bytes), let notice = try? LiveNotice(message) else { continue }
            self.driver.tell { $0.noticed(self.number, notice, now: $1) }
        }
    }

    private func sendDatagrams(over connection: Connection) async throws {
        for await message in self.datagrams.elements {
            // A carrier without datagrams, or one that is too large for it: it would be unreliable anyway.
            _ = try? await connection.sendDatagram(try message.encoded())
        }
    }

    // MARK: Refusals

    private static func refusal(_ error: any Error, mayTryAgain: Bool) -> any Error {
        let final: Set<ErrorCode> = [
            .unauthenticated, .tokenExpired, .wrongAudience, .tokenNotYetValid, .unsupportedVersion, .malformed,
            .invalidName,
        ]
        switch error {
        case let failure as Failure where final.contains(failure.code) && !mayTryAgain:
            var refused = ClientError.refused(failure)
            refused.code = .authenticationRefused
            return refused
        case let failure as Failure:
            return ClientError.refused(failure)
        case let wire as WireError:
            return ClientError(.protocolViolation, message: wire.message, cause: wire)
        case let transport as TransportError
        where transport.code == .application && transport.wireCode == CloseCode.authenticationFailed.rawValue:
            return ClientError(.authenticationRefused, message: transport.message, cause: transport)
        default:
            return error
        }
    }
}
