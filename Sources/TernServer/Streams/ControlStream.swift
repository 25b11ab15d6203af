// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import TernMessages
internal import TernStore
internal import TernTransport

/// The control stream: authentication, then pings, receipts and notices.
struct ControlStream: Sendable {
    let service: ConnectionService
    let stream: TernTransport.Stream

    private var server: MessageServer { self.service.server }
    private var configuration: ServerConfiguration { self.service.server.configuration }

    /// A refusal, and the code with which the connection is closed after it.
    private struct Refusal: Error {
        var failure: Failure
        var code: CloseCode
    }

    func run(first: ByteBuffer) async {
        var reader = MessageReader(
            stream: self.stream, first: first,
            maximumPayloadLength: max(self.configuration.maximumPayloadLength, AccessToken.maximumBytes))
        do throws(Refusal) {
            guard let session = try await self.authenticate(&reader) else {
                return await self.service.connection.close(code: 0, reason: "the control stream ended")
            }
            reader.heard = { session.heard() }
            await withDiscardingTaskGroup { group in
                group.addTask { await self.write(session) }
                group.addTask { await self.closeWhenStopped() }
                await self.serve(session, &reader)
                session.control.finish()
            }
        } catch {
            await self.refuse(error)
        }
    }

    // MARK: Authentication

    /// - Returns: `nil` when the stream ended without a message.
    private func authenticate(_ reader: inout MessageReader) async throws(Refusal) -> Session? {
        let message: Message
        do throws(WireError) {
            guard let first = try await reader.next() else { return nil }
            message = first
        } catch {
            throw Self.refusal(of: error)
        }
        guard self.service.authentication.begin() else { return nil }
        do throws(Failure) {
            let session = try await self.admit(message)
            guard self.service.authentication.open(session) else {
                // The client went away while its token was looked at: nobody else would ever take the session out.
                self.server.hub.leave(session)
                return nil
            }
            return session
        } catch {
            throw Refusal(failure: error, code: Self.closeCode(for: error))
        }
    }

    private static func refusal(of error: WireError) -> Refusal {
        switch error.code {
        case .unsupportedVersion: Refusal(failure: Failure(error), code: .unsupportedVersion)
        case .payloadTooLarge: Refusal(failure: Self.longToken, code: .authenticationFailed)
        default: Refusal(failure: Failure(error), code: .authenticationFailed)
        }
    }

    private static let longToken = Failure(
        .unauthenticated, "a token has at most \(AccessToken.maximumBytes) bytes")

    private static func closeCode(for failure: Failure) -> CloseCode {
        switch failure.code {
        case .draining: .draining
        case .rateLimited: .tooManyConnectionsOfUser
        // Nothing is wrong with the token: whoever did not read why shall come again.
        case .internal, .storageFull: .internalError
        default: .authenticationFailed
        }
    }

    private func admit(_ message: Message) async throws(Failure) -> Session {
        guard message.payload.readableBytes <= AccessToken.maximumBytes else { throw Self.longToken }
        guard message.type == .authentication, let request = try? AuthenticationRequest(message) else {
            throw Failure(.unauthenticated, "the first message must be an authentication with a token")
        }
        guard !self.server.hub.isDraining else { throw Failure(.draining, "the server is about to stop") }
        let now = self.server.time
        var claim = try self.server.authenticator.identify(request.token, now: now.wall)
        let user = try await self.server.names.user(logsInAs: &claim.user)
        let device = try await self.server.names.device(&claim.device, of: user)
        let session = Session(
            user: user, device: device, connection: self.service.connection, configuration: self.configuration,
            token: claim.expires.map { TokenEnd(expires: $0, acceptedAt: now) })
        let answer = AuthenticationAnswer(
            user: user, device: device, maximumPayloadLength: UInt32(clamping: self.configuration.maximumPayloadLength),
            maximumRequestLength: UInt32(clamping: self.configuration.maximumRequestLength),
            maximumPageCount: UInt32(clamping: self.configuration.maximumPageCount),
            idempotencyWindow: self.configuration.idempotencyWindow, durability: self.configuration.durability,
            serverName: self.configuration.name, userName: claim.user, deviceName: claim.device,
            serverTime: self.server.now)
        // The answer is the first message; pushes may come from the moment in which the session is entered.
        session.control.sendNow(answer.message)
        do throws(Failure) {
            try await self.enter(session)
        } catch {
            self.server.hub.leave(session)
            throw error
        }
        self.server.logger.debug(
            "connected",
            metadata: [
                "user": "\(claim.user.text.printable())", "device": "\(claim.device.text.printable())",
                "carrier": "\(self.service.connection.carrier)",
                "program": "\((request.clientProgram ?? "").printable(atMost: 64))",
            ])
        return session
    }

    /// Enters the session; where the user has as many as allowed, one that is silent gives way.
    private func enter(_ session: Session) async throws(Failure) {
        while true {
            do throws(Failure) {
                return try await self.server.hub.enter(
                    session, limit: self.configuration.maximumConnectionsPerUser, store: self.server.store)
            } catch {
                guard error.code == .rateLimited else { throw error }
                try self.makeRoom(for: session)
            }
        }
    }

    private func makeRoom(for session: Session) throws(Failure) {
        let now = ContinuousClock.now
        let others = self.server.hub.sessions(of: session.user).map { (session: $0, silence: $0.silence(at: now)) }
        let patience = self.configuration.silenceBeforeGivingWay
        switch GivingWay.choose(among: others, patience: patience) {
        case .nobody(let wait):
            throw Failure(
                .rateLimited, "the user has \(self.configuration.maximumConnectionsPerUser) connections, all in use",
                retryAfter: wait.wholeMilliseconds)
        case .session(let quietest):
            self.server.hub.leave(quietest)
            quietest.end(.gaveWay, reason: "the connection was silent, and the user opened another one")
        }
    }

    /// Says why, and closes when the client has had time to read it.
    private func refuse(_ refusal: Refusal) async {
        self.service.authentication.fail()
        await self.server.refusals.note(refusal.failure, on: self.service.connection)
        if let bytes = try? refusal.failure.message.encoded() {
            try? await self.stream.finish(bytes)
        }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await Task.sleep(for: self.configuration.refusalLinger) }
            group.addTask { await self.service.connection.closed() }
            await group.next()
            group.cancelAll()
        }
        await self.service.connection.close(code: refusal.code.rawValue, reason: refusal.failure.text)
    }

    // MARK: After it

    /// Bytes of a ping's payload.
    static let maximumPing = 256

    private func write(_ session: Session) async {
        while let bytes = await session.control.next() {
            // The connection is over when this fails, or the client stopped this side: it would never be answered again.
            guard (try? await self.stream.write(bytes)) != nil else {
                session.control.finish()
                return await self.service.connection.close(code: 0, reason: "the control stream ended")
            }
        }
        try? await self.stream.finish()
    }

    /// A client that wants to hear no more would never be answered again; the next answer may be a long time off.
    private func closeWhenStopped() async {
        guard await self.stream.stoppedByPeer() != nil else { return }
        await self.service.connection.close(code: 0, reason: "the control stream ended")
    }

    private func serve(_ session: Session, _ reader: inout MessageReader) async {
        while true {
            do throws(WireError) {
                guard let message = try await reader.next() else { break }
                guard await self.handle(message, session) else { return }
            } catch {
                await session.control.send(Failure(error).message)
                guard error.isSkipped else {
                    let code: CloseCode = error.code == .unsupportedVersion ? .unsupportedVersion : .protocolViolation
                    return await self.endAfterError(session, code, error.message)
                }
            }
        }
        await self.service.connection.close(code: 0, reason: "the control stream ended")
    }

    private func endAfterError(_ session: Session, _ code: CloseCode, _ reason: String) async {
        session.control.finish()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await Task.sleep(for: self.configuration.refusalLinger) }
            group.addTask { await self.service.connection.closed() }
            await group.next()
            group.cancelAll()
        }
        await self.service.connection.close(code: code.rawValue, reason: reason)
    }

    /// - Returns: `false` when the client leaves.
    private func handle(_ message: Message, _ session: Session) async -> Bool {
        if let refusal = session.refuseAboveRate(sequence: message.sequence) {
            await session.control.send(refusal.message)
            return true
        }
        switch message.type {
        case .ping where message.payload.readableBytes <= Self.maximumPing:
            await self.answer(message, with: .pong, session)
        case .echo where message.payload.readableBytes <= self.configuration.maximumPayloadLength:
            await self.answer(message, with: .echo, session)
        case .ping, .echo:
            let failure = Failure(.payloadTooLarge, "the payload is too large", sequence: message.sequence)
            await session.control.send(failure.message)
        case .pong:
            break
        case .receipt:
            let failure = await session.withoutReading { await self.store(message, session) }
            if let failure { await session.control.send(failure.message) }
        case .goOffline:
            session.stopPushing()
            return false
        default:
            let failure = Failure(
                .unsupportedType, "\(message.type) may not be sent on the control stream", sequence: message.sequence)
            await session.control.send(failure.message)
        }
        return true
    }

    private func answer(_ message: Message, with type: MessageType, _ session: Session) async {
        let answer = Message(
            type: type, receiver: PartyID(session.user), sequence: message.sequence, timestamp: self.server.now,
            payload: message.payload)
        await session.control.send(answer)
    }

    // MARK: Receipts

    private func store(_ message: Message, _ session: Session) async -> Failure? {
        guard message.sender == .server || message.sender == PartyID(session.user) else {
            return Failure(.unauthenticated, "the sender is somebody else", sequence: message.sequence)
        }
        var message = message
        message.sender = PartyID(session.user)
        do throws(WireError) {
            let receipt = try Receipt(message)
            guard let channel = message.channel else { return nil }
            return await self.store(receipt, in: channel, session)
        } catch {
            return Failure(error.code, error.message, sequence: message.sequence)
        }
    }

    private func store(
        _ receipt: TernMessages.Receipt, in channel: ChannelID, _ session: Session
    ) async -> Failure? {
        guard self.server.hub.isMember(session.user, of: channel) else {
            return Failure(.notAMember, "not a member of \(channel)", sequence: receipt.sequence)
        }
        let key = ChannelKey(channel)
        let told = Offsets(told: receipt)
        guard case .compare(let known, let asked) = session.forwarding.came(told, in: key) else { return nil }
        let cost = Self.costOfAskingTheStore
        if let refusal = session.refuseAboveRate(cost: cost, sequence: receipt.sequence) { return refusal }
        do throws(StoreError) {
            let store = self.server.store
            let before: TernStore.Offsets
            if let known { before = known } else { before = try await store.offsets(of: session.deviceKey, in: key) }
            guard session.forwarding.found(before, told: told, in: key, asOf: asked) else { return nil }
            try await store.advanceOffsets(told, of: session.deviceKey, in: key)
            let after = try await store.offsets(of: session.deviceKey, in: key)
            session.forwarding.stored(
                receipt, in: channel, from: session.device, before: before, after: after, asOf: asked)
            return nil
        } catch {
            return Failure(error, notFound: .noSuchChannel, sequence: receipt.sequence)
        }
    }

    /// See ``ServerConfiguration/messageRate``.
    private static let costOfAskingTheStore = 7
}
