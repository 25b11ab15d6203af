// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import Synchronization
internal import TernMessages
internal import TernStore
internal import TernTransport

/// Everything that happens on one connection, from its acceptance to its end.
struct ConnectionService: Sendable {
    let server: MessageServer
    let connection: Connection
    let authentication = AuthenticationGate()

    init(server: MessageServer, connection: Connection) {
        self.server = server
        self.connection = connection
    }

    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.acceptStreams() }
            group.addTask { await self.closeUnlessAuthenticated() }
            group.addTask { await self.pushAndForward() }
            let end = await self.connection.closed()
            if end.code == .cancelled {
                await self.connection.close(code: CloseCode.draining.rawValue, reason: "the server stops")
            }
            self.authentication.fail()
            self.authentication.session?.control.finish()
            self.authentication.session?.stopPushing()
            group.cancelAll()
        }
        if let session = self.authentication.session {
            self.server.hub.leave(session)
            self.server.logger.debug("disconnected", metadata: ["user": "\(session.user.rawValue)"])
        }
    }

    private func closeUnlessAuthenticated() async {
        // Cancelled when the connection ends first.
        guard (try? await Task.sleep(for: self.server.configuration.authenticationTimeout)) != nil else { return }
        guard self.authentication.giveUp() else { return }
        await self.connection.close(
            code: CloseCode.authenticationTimeout.rawValue, reason: "no authentication in time")
    }

    // MARK: Streams of the client

    private func acceptStreams() async {
        await withDiscardingTaskGroup { group in
            do {
                for try await stream in self.connection.inboundStreams {
                    group.addTask { await self.serve(stream) }
                }
            } catch {
                // The connection is over; `run` hears why.
            }
        }
    }

    private func serve(_ stream: TernTransport.Stream) async {
        guard stream.direction == .bidirectional else {
            stream.stopSending(code: CloseCode.unknownStreamKind.rawValue)
            return
        }
        guard let (kind, rest) = try? await Self.kind(of: stream) else {
            Self.refuse(stream, .streamMalformed)
            return
        }
        switch kind {
        case .control:
            guard self.authentication.claimControl() else {
                await self.connection.close(
                    code: CloseCode.protocolViolation.rawValue, reason: "a second control stream")
                return
            }
            await ControlStream(service: self, stream: stream).run(first: rest)
        case .channelSend:
            guard let session = await self.authentication.wait() else { return Self.refuse(stream, .streamCancelled) }
            await ChannelSendStream(server: self.server, session: session, stream: stream).run(first: rest)
        case .requests:
            guard let session = await self.authentication.wait() else { return Self.refuse(stream, .streamCancelled) }
            await RequestStream(server: self.server, session: session, stream: stream).run(first: rest)
        default:
            Self.refuse(stream, .unknownStreamKind)
        }
    }

    private static func refuse(_ stream: TernTransport.Stream, _ code: CloseCode) {
        stream.reset(code: code.rawValue)
        stream.stopSending(code: code.rawValue)
    }

    /// The kind at the start of a stream, and the bytes behind it.
    private static func kind(of stream: TernTransport.Stream) async throws -> (StreamKind, ByteBuffer)? {
        var buffer = ByteBuffer()
        while let bytes = try await stream.read() {
            buffer.writeImmutableBuffer(bytes)
            if let kind = StreamKind(decoding: &buffer) { return (kind, buffer) }
        }
        return nil
    }

    // MARK: What goes to the client

    private func pushAndForward() async {
        guard let session = await self.authentication.wait() else { return }
        await withDiscardingTaskGroup { group in
            group.addTask { await self.readDatagrams(session) }
            group.addTask { await self.writeDatagrams(session) }
            group.addTask { await session.endWithToken { self.server.time } }
            group.addTask { await self.close(with: session) }
            group.addTask { await session.forwarding.run { await self.forward($0, in: $1, from: session) } }
            while let start = try? await session.feedStarts.next() {
                group.addTask { await self.push(start, session) }
            }
        }
    }

    /// The server wants the connection to end.
    private func close(with session: Session) async {
        guard let ending = try? await session.endings.next() else { return }
        self.server.logger.info(
            "ended", metadata: ["user": "\(session.user.rawValue)", "reason": "\(ending.reason)"])
        await self.connection.close(code: ending.code.rawValue, reason: ending.reason)
    }

    private func push(_ start: FeedStart, _ session: Session) async {
        do {
            let stream = try await self.connection.openStream(.unidirectional)
            await withDiscardingTaskGroup { group in
                // The next message may be a long time off.
                group.addTask { if await stream.stoppedByPeer() != nil { session.feedFailed(start) } }
                await Self.push(start, on: stream, session)
                group.cancelAll()
            }
        } catch {
            session.feedFailed(start)
        }
    }

    private static func push(_ start: FeedStart, on stream: TernTransport.Stream, _ session: Session) async {
        do {
            var kind = ByteBuffer()
            StreamKind.channelPush.encode(into: &kind)
            try await stream.write(kind)
            while let bytes = await session.nextPush(for: start) {
                try await stream.write(bytes)
            }
            try await stream.finish()
        } catch {
            session.feedFailed(start)
        }
    }

    private func writeDatagrams(_ session: Session) async {
        while let datagram = try? await session.datagrams.next() {
            // May be larger than the path takes or come too late: it is lost like any datagram.
            _ = try? await self.connection.sendDatagram(datagram)
        }
    }

    private func readDatagrams(_ session: Session) async {
        do {
            for try await datagram in self.connection.inboundDatagrams {
                session.heard()
                if session.allowsDatagram() { self.forward(datagram, from: session) }
            }
        } catch {
            // The connection is over; `run` hears why.
        }
    }

    private func forward(_ datagram: ByteBuffer, from session: Session) {
        guard var message = try? Message(decoding: datagram, maximumPayloadLength: 256),
            message.sender == .server || message.sender == PartyID(session.user)
        else { return }
        message.sender = PartyID(session.user)
        guard let notice = try? LiveNotice(message), let channel = message.channel,
            self.server.hub.isMember(session.user, of: channel), let bytes = try? notice.message.encoded()
        else { return }
        let others = self.server.hub.sessions(in: ChannelKey(channel)).filter { $0.user != session.user }
        guard session.waitForCopies(others.count) == nil else { return }
        for other in others { other.datagrams.push(bytes) }
    }

    /// Waits until the session may cause so many copies. Who hears it is decided after that.
    private func forward(_ receipt: TernMessages.Receipt, in channel: ChannelID, from session: Session) async {
        while self.server.hub.isMember(session.user, of: channel) {
            let others = self.server.hub.sessions(in: ChannelKey(channel), at: receipt.sequence.rawValue).filter {
                $0 !== session
            }
            guard let wait = session.waitForCopies(others.count) else {
                return self.server.hub.offer(receipt, in: channel, from: session, to: others)
            }
            guard (try? await Task.sleep(for: wait)) != nil else { return }
        }
    }
}
