// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernTransport

/// The requests of one connection: any number in flight on one stream, answered in any order.
final class RequestLane: Sendable {
    private struct State {
        var waiting: [UInt64: CheckedContinuation<RequestFrame, any Error>] = [:]
        var nextIdentifier: UInt64 = 1
        var stream: Stream?
        var end: (any Error)?
    }

    private let connection: Connection
    private let timeout: Duration
    private let state = Mutex(State())
    private let opened = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))

    init(connection: Connection, timeout: Duration) {
        self.connection = connection
        self.timeout = timeout
    }

    /// Reads the answers, until the connection ends.
    func run() async throws {
        do {
            let stream = try await self.connection.openStream()
            var kind = ByteBuffer()
            StreamKind.requests.encode(into: &kind)
            try await stream.write(kind)
            self.state.withLock { $0.stream = stream }
            self.opened.continuation.finish()
            var decoder = RequestFrameDecoder(maximumBodyLength: RequestFrame.maximumResponseLength)
            while let bytes = try await stream.read() {
                decoder.append(bytes)
                while let frame = try decoder.next() { self.answer(frame) }
            }
            throw ClientError(.protocolViolation, message: "the server ended the stream of requests")
        } catch {
            self.end(error)
            throw error
        }
    }

    func perform<Body: RequestBody>(_ body: Body) async throws -> Body.Answer {
        for await _ in self.opened.stream {}
        let identifier = self.state.withLock { state in
            defer { state.nextIdentifier += 1 }
            return state.nextIdentifier
        }
        let frame = try body.frame(identifier: identifier).encoded()
        let response = try await withTimeout(self.timeout, "the server did not answer \(Body.resource)") {
            try await self.exchange(frame, identifier: identifier)
        }
        do {
            return try Body.answer(in: response)
        } catch let failure as Failure {
            throw ClientError.refused(failure)
        } catch let error as WireError {
            throw ClientError(.protocolViolation, message: error.message, cause: error)
        }
    }

    /// The connection ended: nothing will be answered any more.
    func end(_ error: any Error) {
        let waiting = self.state.withLock { state in
            state.end = state.end ?? error
            defer { state.waiting = [:] }
            return state.waiting
        }
        self.opened.continuation.finish()
        for continuation in waiting.values { continuation.resume(throwing: error) }
    }

    private func exchange(_ frame: ByteBuffer, identifier: UInt64) async throws -> RequestFrame {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                // Who waits stands in the table before the frame is on its way.
                let (stream, error) = self.state.withLock { state -> (Stream?, (any Error)?) in
                    if let end = state.end { return (nil, end) }
                    if Task.isCancelled { return (nil, CancellationError()) }
                    guard let stream = state.stream else {
                        return (nil, ClientError(.closed, message: "there is no connection"))
                    }
                    state.waiting[identifier] = continuation
                    return (stream, nil)
                }
                if let error { continuation.resume(throwing: error) }
                guard let stream else { return }
                Task {
                    do { try await stream.write(frame) } catch { self.fail(identifier, error) }
                }
            }
        } onCancel: {
            self.fail(identifier, CancellationError())
        }
    }

    private func fail(_ identifier: UInt64, _ error: any Error) {
        let continuation = self.state.withLock { $0.waiting.removeValue(forKey: identifier) }
        continuation?.resume(throwing: error)
    }

    private func answer(_ frame: RequestFrame) {
        let continuation = self.state.withLock { $0.waiting.removeValue(forKey: frame.identifier) }
        continuation?.resume(returning: frame)
    }
}
