// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernTransport

/// One connection of a client, authenticated.
final class Link: Sendable {
    /// What the link's tasks are asked to do.
    enum Command: Sendable {
        /// Messages for this receiver wait.
        case send(to: PartyID)
        /// A gap of this channel is to be read.
        case read(ChannelID)
    }

    let connection: Connection
    let answer: AuthenticationAnswer
    let control: Stream
    /// Behind the server's answer on the control stream.
    let controlReader: Mutex<MessageReader>
    let requests: RequestLane
    let commands: AsyncThrowingStream<Command, any Error>
    private let commandSink: AsyncThrowingStream<Command, any Error>.Continuation
    private let senders = Mutex<[PartyID: AsyncStream<Void>.Continuation]>([:])

    private init(
        connection: Connection, answer: AuthenticationAnswer, control: Stream, reader: MessageReader, timeout: Duration
    ) {
        self.connection = connection
        self.answer = answer
        self.control = control
        self.controlReader = Mutex(reader)
        self.requests = RequestLane(connection: connection, timeout: timeout)
        // Bounded by the receivers and channels that there are: each is asked for once at a time.
        (self.commands, self.commandSink) = AsyncThrowingStream.makeStream()
    }

    /// Authenticates on a new connection, which is closed if that fails.
    static func open(_ connection: Connection, _ configuration: ClientConfiguration) async throws -> Link {
        do {
            return try await withTimeout(configuration.requestTimeout, "the server did not answer the authentication") {
                try await self.authenticate(connection, configuration)
            }
        } catch {
            await connection.close()
            throw self.refusal(error)
        }
    }

    func post(_ command: Command) {
        if case .send(let receiver) = command, let sender = self.senders.withLock({ $0[receiver] }) {
            sender.yield()
        } else {
            self.commandSink.yield(command)
        }
    }

    /// A part of the conversation failed, and with it the whole: ends ``commands``, and thereby the tasks of the link.
    func fail(_ error: any Error) {
        self.commandSink.finish(throwing: error)
    }

    /// Runs a task of the link, whose failure is the link's.
    func failing(with body: () async throws -> Void) async {
        do { try await body() } catch { self.fail(error) }
    }

    /// A task serves `receiver` from now on.
    ///
    /// - Returns: `nil` when another one does; otherwise a signal for each time that messages wait.
    func claimSender(of receiver: PartyID) -> AsyncStream<Void>? {
        let (signals, sink) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let isFirst = self.senders.withLock { senders in
            guard senders[receiver] == nil else {
                senders[receiver]?.yield()
                return false
            }
            senders[receiver] = sink
            return true
        }
        guard isFirst else { return nil }
        sink.yield()
        return signals
    }

    /// Nobody serves `receiver` any more.
    func releaseSender(of receiver: PartyID) {
        let sink = self.senders.withLock { $0.removeValue(forKey: receiver) }
        sink?.finish()
    }

    private static func authenticate(
        _ connection: Connection, _ configuration: ClientConfiguration
    ) async throws -> Link {
        let control = try await connection.openStream()
        control.setPriority(.highest)
        var first = ByteBuffer()
        StreamKind.control.encode(into: &first)
        try AuthenticationRequest(token: configuration.token, clientProgram: configuration.program).message
            .encode(into: &first)
        try await control.write(first)
        var reader = MessageReader(control)
        guard let message = try await reader.next() else {
            throw ClientError(.protocolViolation, message: "the server ended the control stream")
        }
        if message.type == .error { throw try Failure(message) }
        let answer = try AuthenticationAnswer(message)
        return Link(
            connection: connection, answer: answer, control: control, reader: reader,
            timeout: configuration.requestTimeout)
    }

    private static func refusal(_ error: any Error) -> any Error {
        let final: Set<ErrorCode> = [
            .unauthenticated, .tokenExpired, .wrongAudience, .tokenNotYetValid, .unsupportedVersion, .malformed,
            .invalidName,
        ]
        switch error {
        case let failure as Failure where final.contains(failure.code):
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

/// Runs `body`, or cancels it after `timeout`.
func withTimeout<Value: Sendable>(
    _ timeout: Duration, _ message: String, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try await Task.sleep(for: timeout)
            return nil
        }
        defer { group.cancelAll() }
        guard let first = try await group.next(), let value = first else {
            throw ClientError(.timedOut, message: "\(message) within \(timeout)")
        }
        return value
    }
}
