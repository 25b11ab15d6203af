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
    /// The session's room bounds it, on all streams together.
    private let responses = BoundedQueue<Response>(capacity: .max)

    /// A response, and how much of the session's room it took.
    private struct Response: Sendable {
        var frame: RequestFrame
        var room: Int
    }

    init(server: MessageServer, session: Session, stream: TernTransport.Stream) {
        self.server = server
        self.session = session
        self.stream = stream
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
                    do {
                        bytes = try await self.stream.read()
                    } catch {
                        // A stream that the client reset, or a connection that is over: what came in part is worth nothing.
                        return
                    }
                    self.session.heard()
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
                    // It has no answer: above the rate the request is answered as if nothing had happened.
                    if self.session.refuseAboveRate() == nil { self.inFlight.cancel(frame.identifier) }
                } else if let refusal = self.refusal(of: frame) {
                    await self.respond(to: frame, refusal)
                } else {
                    let room = await self.session.responseRoom.take(self.handler.largestResponse(to: frame))
                    await self.session.withoutReading { await self.session.requestSlots.take() }
                    self.inFlight.begin(frame.identifier)
                    requests.addTask { await self.serve(frame, room: room) }
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
        return self.session.refuseAboveRate(cost: self.handler.weight(of: frame))
    }

    private var handler: RequestHandler { RequestHandler(server: self.server, session: self.session) }

    /// - Parameter room: taken of the session's for the largest response that there can be.
    private func serve(_ frame: RequestFrame, room: Int) async {
        let work = self.server.hub.work(of: self.session.user)
        await work?.take()
        var response = await self.handler.respond(to: frame)
        work?.giveBack()
        if self.inFlight.end(frame.identifier) {
            response = RequestFrame(Failure(.cancelled, "the client cancelled the request"), to: frame)
        }
        let needed = min(room, max(response.body.storageCapacity, RequestHandler.smallestResponse))
        self.session.responseRoom.giveBack(room - needed)
        self.put(Response(frame: response, room: needed))
        self.session.requestSlots.giveBack()
    }

    private func respond(to frame: RequestFrame, _ failure: Failure) async {
        let room = await self.session.responseRoom.take(RequestHandler.smallestResponse)
        self.put(Response(frame: RequestFrame(failure, to: frame), room: room))
    }

    private func put(_ response: Response) {
        if !self.responses.pushNow(response, cost: 0) { self.session.responseRoom.giveBack(response.room) }
    }

    /// Writes until there is nothing more. When the client stopped the stream, the room is given back all the same.
    private func writeResponses() async {
        while let responses = await self.responses.takeAll() {
            for response in responses {
                if (try? await self.stream.write(Self.encoded(response.frame))) == nil { self.responses.finish() }
                self.session.responseRoom.giveBack(response.room)
            }
        }
        try? await self.stream.finish()
    }

    private static func encoded(_ response: RequestFrame) -> ByteBuffer {
        if let bytes = try? response.encoded() { return bytes }
        // Longer than a client must take: no answer at all would leave it waiting.
        let failure = Failure(.internal, "the response is too long", isRetryable: false)
        return (try? RequestFrame(failure, to: response).encoded()) ?? ByteBuffer()
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
