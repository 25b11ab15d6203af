// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernMessages

/// The values behind the `hex` blocks of Docs/PROTOCOL.md, by the name of the block.
enum ProtocolExamples {
    static let alice = UserID(rawValue: 1)!
    static let bob = UserID(rawValue: 2)!
    static let team = GroupID(rawValue: 1 << 36)!
    static let phone = DeviceID(rawValue: 7)!
    static let id = ClientMessageID(high: 0x0011_2233_4455_6677, low: 0x8899_aabb_ccdd_eeff)
    static let epoch = Epoch(rawValue: 1)
    static let now = MessageTimestamp(rawValue: 1_700_000_000_000)!

    /// Messages: each block is one message.
    static func messages() throws -> [(name: String, message: Message)] {
        let direct = ChannelID(direct: alice, bob)
        return [
            ("authentication", AuthenticationRequest(token: "dev:alice/phone", clientProgram: "tern 1").message),
            (
                "authentication-answer",
                AuthenticationAnswer(
                    user: alice, device: phone, maximumPayloadLength: 65536, maximumRequestLength: 65536,
                    maximumPageCount: 500, idempotencyWindow: 604_800, durability: .full, serverName: try Name("tern"),
                    userName: try Name("alice"), deviceName: try Name("phone"), serverTime: now
                ).message
            ),
            ("authentication-error", Failure(.tokenExpired, "the token expired").message),
            ("version-error", Failure(.unsupportedVersion, "").message),
            ("ping", Message(type: .ping, sequence: sequence(5), payload: ByteBuffer(string: "hi"))),
            ("pong", Message(type: .pong, sequence: sequence(5), timestamp: now, payload: ByteBuffer(string: "hi"))),
            (
                "echo",
                Message(type: .echo, sequence: sequence(6), payload: ByteBuffer(bytes: [0xff, 0xff, 0xff, 0xff]))
            ),
            (
                "send",
                OutgoingMessage(
                    sender: alice, receiver: PartyID(bob), sequence: sequence(9), id: id, timestamp: now,
                    payload: ByteBuffer(string: "hello")
                ).message
            ),
            (
                "acknowledgement",
                Acknowledgement(
                    sender: alice, receiver: PartyID(bob), sequence: sequence(1), timestamp: now, id: id, epoch: epoch,
                    durability: .full, isDuplicate: true
                ).message
            ),
            ("error", Failure(.conflict, "other content", sequence: sequence(9), id: id).message),
            ("rate-error", Failure(.rateLimited, "", sequence: sequence(9), id: id, retryAfter: 250).message),
            (
                "push",
                ChannelMessage(
                    type: .text, sender: alice, senderDevice: phone, receiver: PartyID(team),
                    channel: ChannelID(group: team), epoch: epoch, sequence: sequence(12),
                    previousSequence: sequence(11), timestamp: now, id: id, payload: ByteBuffer(string: "hello")
                ).message
            ),
            ("inbox", InboxNotice(to: bob, channel: direct, head: sequence(40), epoch: epoch, mustPull: true)!.message),
            ("receipt", Receipt(kind: .read, sender: bob, receiver: PartyID(alice), sequence: sequence(40)).message),
            (
                "receipt-forwarded",
                Receipt(
                    kind: .delivered, sender: bob, senderDevice: DeviceID(rawValue: 8), receiver: PartyID(team),
                    sequence: sequence(12)
                ).message
            ),
            ("typing", LiveNotice(type: .typing, state: .on, sender: bob, receiver: PartyID(alice)).message),
            ("presence", LiveNotice(type: .presence, state: .away, sender: bob, receiver: PartyID(team)).message),
            ("go-offline", GoOffline(retryAfter: 5000).message),
            ("go-offline-client", GoOffline().message),
            (
                "widest-header",
                Message(
                    type: MessageType(rawValue: 0xfff)!, flags: MessageFlags(rawValue: 0xfff),
                    sender: PartyID(rawValue: PartyID.maximumRawValue)!,
                    receiver: PartyID(rawValue: PartyID.maximumRawValue)!,
                    sequence: sequence(MessageSequence.maximumRawValue),
                    timestamp: MessageTimestamp(rawValue: MessageTimestamp.maximumRawValue)!,
                    node: NodeID(rawValue: NodeID.maximumRawValue)!)
            ),
        ]
    }

    static func sequence(_ value: UInt64) -> MessageSequence { MessageSequence(rawValue: value)! }

    static func state() throws -> ChannelState {
        ChannelState(
            channel: ChannelID(direct: bob, alice), epoch: epoch, head: sequence(40), first: sequence(1),
            delivered: sequence(39), read: sequence(38), unread: 2, timestamp: now, name: try Name("bob"))
    }

    static func page() throws -> History.Answer {
        let message = ChannelMessage(
            type: .text, sender: alice, senderDevice: phone, receiver: PartyID(bob),
            channel: ChannelID(direct: alice, bob),
            epoch: epoch, sequence: sequence(1), timestamp: now, id: id, payload: ByteBuffer(string: "hello"))
        return History.Answer(hasMore: true, epoch: epoch, head: sequence(40), first: sequence(1), messages: [message])
    }

    /// Requests and responses: each block is one frame, with the identifier 3.
    static func frames() throws -> [(name: String, frame: RequestFrame)] {
        let direct = ChannelID(direct: alice, bob)
        let group = GroupState(group: team, isMember: true, memberCount: 2, name: try Name("team"))
        let members = [Member(user: alice, name: try Name("alice")), Member(user: bob, name: try Name("bob"))]
        let failure = RequestFailure(Failure(.storageFull, "disk full"))
        return [
            ("no-operation", NoOperation().frame(identifier: 3)),
            ("cancel", RequestFrame(identifier: 3, resource: .cancel)),
            ("resolve-user", ResolveUser(name: try Name("bob")).frame(identifier: 3)),
            ("resolve-user-answer", answer(ResolveUser.self, ResolveUser.Answer(user: bob))),
            ("user-names", UserNames(users: [alice, bob]).frame(identifier: 3)),
            ("user-names-answer", answer(UserNames.self, UserNames.Answer(members: members))),
            ("create-group", CreateGroup(name: try Name("team")).frame(identifier: 3)),
            ("create-group-answer", answer(CreateGroup.self, group)),
            ("find-group", FindGroup(name: try Name("team")).frame(identifier: 3)),
            ("join-group", JoinGroup(group: team).frame(identifier: 3)),
            ("leave-group", LeaveGroup(group: team).frame(identifier: 3)),
            ("leave-group-answer", answer(LeaveGroup.self, EmptyBody())),
            ("invite-member", InviteMember(group: team, user: bob).frame(identifier: 3)),
            ("list-members", ListMembers(group: team, after: alice, limit: 10).frame(identifier: 3)),
            ("list-members-answer", answer(ListMembers.self, ListMembers.Answer(hasMore: false, members: members))),
            ("sync-index", SyncIndex(cursor: 0, limit: 100).frame(identifier: 3)),
            ("sync-index-answer", answer(SyncIndex.self, SyncIndex.Answer(next: 17, channels: [try state()]))),
            ("channel-state", ReadChannelState(channel: direct).frame(identifier: 3)),
            ("channel-state-answer", answer(ReadChannelState.self, try state())),
            ("history", History(channel: direct, from: sequence(1), limit: 1).frame(identifier: 3)),
            ("history-answer", answer(History.self, try page())),
            ("offsets", Offsets(channel: direct, limit: 10).frame(identifier: 3)),
            (
                "offsets-answer",
                answer(
                    Offsets.self,
                    Offsets.Answer(
                        hasMore: false,
                        entries: [.init(user: bob, device: phone, delivered: sequence(39), read: sequence(38))]))
            ),
            (
                "request-failure",
                RequestFrame(identifier: 3, resource: .createGroup, status: .storageFull, body: failure.encodedBody())
            ),
        ]
    }

    private static func answer<Request: RequestBody>(_: Request.Type, _ answer: Request.Answer) -> RequestFrame {
        RequestFrame(identifier: 3, resource: Request.resource, body: answer.encodedBody())
    }
}
