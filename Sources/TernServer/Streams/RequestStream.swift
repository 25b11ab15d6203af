// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernTransport

/// A stream of requests: many in flight, answered as they are ready.
struct RequestStream: Sendable {
    let server: MessageServer
    let session: Session
    let stream: TernTransport.Stream
    private let inFlight = InFlightRequests()
    private let responses: BoundedQueue<RequestFrame>

    init(server: MessageServer, session: Session, stream: TernTransport.Stream) {
        self.server = server
        self.session = session
        self.stream = stream
        self.responses = BoundedQueue(capacity: RequestFrame.maximumResponseLength)
    }

    func run(first: ByteBuffer) async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.writeResponses() }
            await withDiscardingTaskGroup { requests in
                var decoder = RequestFrameDecoder(maximumBodyLength: self.server.configuration.maximumRequestLength)
                var bytes: ByteBuffer? = first
                while let chunk = bytes {
                    decoder.append(chunk)
                    guard await self.take(from: &decoder, in: &requests) else { return }
                    bytes = try? await self.stream.read()
                }
                do throws(WireError) {
                    try decoder.finish()
                } catch {
                    await self.respond(to: RequestFrame(identifier: 0, resource: .noOperation), Failure(error))
                }
            }
            self.responses.finish()
        }
    }

    /// - Returns: `false` when the stream cannot be read on.
    private func take(from decoder: inout RequestFrameDecoder, in requests: inout DiscardingTaskGroup) async -> Bool {
        do throws(WireError) {
            while let frame = try decoder.next() {
                if frame.resource == .cancel {
                    self.inFlight.cancel(frame.identifier)
                } else if let refusal = self.refusal(of: frame) {
                    await self.respond(to: frame, refusal)
                } else {
                    await self.session.requestSlots.take()
                    self.inFlight.begin(frame.identifier)
                    requests.addTask { await self.serve(frame) }
                }
            }
            return true
        } catch {
            let refused = decoder.refused ?? RequestFrame(identifier: 0, resource: .noOperation)
            await self.respond(to: refused, Failure(error))
            self.stream.stopSending(code: CloseCode.streamFrameTooLarge.rawValue)
            return false
        }
    }

    private func refusal(of frame: RequestFrame) -> Failure? {
        if frame.status != .none { return Failure(.malformed, "the status of a request is 0") }
        if self.inFlight.contains(frame.identifier) { return Failure(.malformed, "the identifier is in use") }
        return self.session.refuseAboveRate()
    }

    private func serve(_ frame: RequestFrame) async {
        let response = await RequestHandler(server: self.server, session: self.session).respond(to: frame)
        if self.inFlight.end(frame.identifier) {
            await self.respond(to: frame, Failure(.cancelled, "the client cancelled the request"))
        } else {
            await self.responses.push(response, cost: RequestFrame.headerSize + response.body.readableBytes)
        }
        self.session.requestSlots.giveBack()
    }

    private func respond(to frame: RequestFrame, _ failure: Failure) async {
        let response = RequestFrame(failure, to: frame)
        await self.responses.push(response, cost: RequestFrame.headerSize + response.body.readableBytes)
    }

    private func writeResponses() async {
        while let frames = await self.responses.takeAll() {
            var buffer = ByteBuffer()
            // Our own responses are within the format's limits.
            for frame in frames { try? frame.encode(into: &buffer) }
            guard (try? await self.stream.write(buffer)) != nil else { return self.responses.finish() }
        }
        try? await self.stream.finish()
    }
}

extension RequestFrame {
    init(_ failure: Failure, to request: RequestFrame) {
        self.init(
            identifier: request.identifier, resource: request.resource, status: failure.code,
            body: RequestFailure(failure).encodedBody())
    }
}

/// The requests of one stream that are being worked on, and whether they were cancelled.
final class InFlightRequests: Sendable {
    private let isCancelled = Mutex<[UInt64: Bool]>([:])

    func contains(_ identifier: UInt64) -> Bool {
        self.isCancelled.withLock { $0[identifier] != nil }
    }

    func begin(_ identifier: UInt64) {
        self.isCancelled.withLock { $0[identifier] = false }
    }

    func cancel(_ identifier: UInt64) {
        self.isCancelled.withLock { if $0[identifier] != nil { $0[identifier] = true } }
    }

    /// - Returns: whether the request was cancelled.
    func end(_ identifier: UInt64) -> Bool {
        self.isCancelled.withLock { $0.removeValue(forKey: identifier) ?? false }
    }
}
