// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// Somebody's devices received, or people read, everything of a channel up to a sequence.
public struct Receipt: Sendable, Hashable {
    public struct Kind: RawRepresentable, Sendable, Hashable {
        public let rawValue: UInt8

        public init(rawValue: UInt8) {
            self.rawValue = rawValue
        }

        /// The device has stored it.
        public static let delivered = Kind(rawValue: 1)
        /// The user has seen it.
        public static let read = Kind(rawValue: 2)
    }

    public var kind: Kind
    /// Whose receipt it is.
    public var sender: UserID
    /// The device that sent it; the server fills this in.
    public var senderDevice: DeviceID?
    /// The group, or the other user of a direct channel.
    public var receiver: PartyID
    /// Everything up to and with this sequence of the channel.
    public var sequence: MessageSequence

    public init(
        kind: Kind, sender: UserID, senderDevice: DeviceID? = nil, receiver: PartyID, sequence: MessageSequence
    ) {
        self.kind = kind
        self.sender = sender
        self.senderDevice = senderDevice
        self.receiver = receiver
        self.sequence = sequence
    }

    public var message: Message {
        var message = Message(
            type: .receipt, sender: PartyID(self.sender), receiver: self.receiver, sequence: self.sequence,
            extensions: [MessageExtension(.receiptKind, isCritical: true, integer: self.kind.rawValue)])
        if let senderDevice {
            message.extensions.set(MessageExtension(.senderDevice, integer: senderDevice.rawValue))
        }
        return message
    }

    /// - Throws: ``ErrorCode/malformed``.
    public init(_ message: Message) throws(WireError) {
        guard message.type == .receipt, let sender = message.sender.user, message.channel != nil,
            let kind = try message.extensions.integer(.receiptKind, as: UInt8.self), kind == 1 || kind == 2
        else { throw WireError(.malformed, "no receipt", header: message.header) }
        self.init(
            kind: Kind(rawValue: kind), sender: sender, senderDevice: try message.extensions.senderDevice,
            receiver: message.receiver, sequence: message.sequence)
    }
}

/// The server refused a message, or is about to close the connection.
public struct Failure: Error, Sendable, Hashable {
    public var code: ErrorCode
    public var isRetryable: Bool
    /// A sentence for people.
    public var text: String
    /// The refused message's own sequence, or zero.
    public var sequence: MessageSequence
    /// The refused message's id, if it had one.
    public var id: ClientMessageID?
    /// Milliseconds to wait before the next try.
    public var retryAfter: UInt32?

    public init(
        _ code: ErrorCode, _ text: String, isRetryable: Bool? = nil, sequence: MessageSequence = .zero,
        id: ClientMessageID? = nil, retryAfter: UInt32? = nil
    ) {
        self.code = code
        self.isRetryable = isRetryable ?? code.isRetryable
        self.text = text
        self.sequence = sequence
        self.id = id
        self.retryAfter = retryAfter
    }

    /// The answer to bytes that could not be read.
    public init(_ error: WireError) {
        self.init(error.code, error.message, sequence: error.header?.sequence ?? .zero, id: error.clientMessageID)
    }

    public var message: Message {
        var message = Message(
            type: .error, flags: self.isRetryable ? .retryable : [], sequence: self.sequence,
            extensions: [MessageExtension(.errorCode, isCritical: true, integer: self.code.rawValue)],
            payload: ByteBuffer(string: self.text))
        if let id { message.extensions.set(id, isCritical: false) }
        if let retryAfter { message.extensions.set(MessageExtension(.retryAfter, integer: retryAfter)) }
        if self.code == .unsupportedVersion {
            message.extensions.set(MessageExtension(.supportedVersions, value: ByteBuffer(bytes: [1, 1])))
        }
        return message
    }

    /// - Throws: ``ErrorCode/malformed``.
    public init(_ message: Message) throws(WireError) {
        guard message.type == .error, let code = try message.extensions.errorCode else {
            throw WireError(.malformed, "no error message", header: message.header)
        }
        self.init(
            code, String(decoding: message.payload.readableBytesView, as: UTF8.self),
            isRetryable: message.flags.contains(.retryable), sequence: message.sequence,
            id: try message.extensions.clientMessageID, retryAfter: try message.extensions.retryAfter)
    }
}

/// The server tells a device how far a channel's log reaches, without the messages.
public struct InboxNotice: Sendable, Hashable {
    /// For a direct channel the other user, for a group nobody (0).
    public var sender: PartyID
    /// For a direct channel the device's user, for a group the group.
    public var receiver: PartyID
    public var head: MessageSequence
    public var epoch: Epoch
    /// The server does not push this channel until a history page reached the head.
    public var mustPull: Bool

    public init(sender: PartyID, receiver: PartyID, head: MessageSequence, epoch: Epoch, mustPull: Bool) {
        self.sender = sender
        self.receiver = receiver
        self.head = head
        self.epoch = epoch
        self.mustPull = mustPull
    }

    /// As `user` is told about `channel`; `nil` when the user is not in that direct channel.
    public init?(to user: UserID, channel: ChannelID, head: MessageSequence, epoch: Epoch, mustPull: Bool) {
        if let group = channel.group {
            self.init(sender: .server, receiver: PartyID(group), head: head, epoch: epoch, mustPull: mustPull)
        } else if let peer = channel.peer(of: user) {
            self.init(sender: PartyID(peer), receiver: PartyID(user), head: head, epoch: epoch, mustPull: mustPull)
        } else {
            return nil
        }
    }

    public var channel: ChannelID? { ChannelID(sender: self.sender, receiver: self.receiver) }

    public var message: Message {
        Message(
            type: .inbox, flags: self.mustPull ? .pull : [], sender: self.sender, receiver: self.receiver,
            sequence: self.head, extensions: [MessageExtension(.epoch, integer: self.epoch.rawValue)])
    }

    /// - Throws: ``ErrorCode/malformed``.
    public init(_ message: Message) throws(WireError) {
        guard message.type == .inbox, message.channel != nil, let epoch = try message.extensions.epoch else {
            throw WireError(.malformed, "no inbox notice", header: message.header)
        }
        self.init(
            sender: message.sender, receiver: message.receiver, head: message.sequence, epoch: epoch,
            mustPull: message.flags.contains(.pull))
    }
}

/// The server is about to stop, or the client is about to leave.
public struct GoOffline: Sendable, Hashable {
    /// From the server: milliseconds over which clients spread their reconnects.
    public var retryAfter: UInt32?

    public init(retryAfter: UInt32? = nil) {
        self.retryAfter = retryAfter
    }

    public var message: Message {
        Message(
            type: .goOffline,
            extensions: self.retryAfter.map { [MessageExtension(.retryAfter, integer: $0)] } ?? [])
    }

    /// - Throws: ``ErrorCode/malformed``.
    public init(_ message: Message) throws(WireError) {
        guard message.type == .goOffline else { throw WireError(.malformed, "no go-offline", header: message.header) }
        self.retryAfter = try message.extensions.retryAfter
    }
}

/// A datagram: somebody types, or is there. Never stored, may be lost.
public struct LiveNotice: Sendable, Hashable {
    /// One byte of payload.
    public enum State: UInt8, Sendable, Hashable {
        /// Stopped typing; went offline.
        case off = 0
        /// Types; is online.
        case on = 1
        /// Presence only: is online and does not look.
        case away = 2
    }

    /// ``MessageType/typing`` or ``MessageType/presence``.
    public var type: MessageType
    public var state: State
    public var sender: UserID
    public var receiver: PartyID

    public init(type: MessageType, state: State, sender: UserID, receiver: PartyID) {
        self.type = type
        self.state = state
        self.sender = sender
        self.receiver = receiver
    }

    public var message: Message {
        Message(
            type: self.type, sender: PartyID(self.sender), receiver: self.receiver,
            payload: ByteBuffer(integer: self.state.rawValue))
    }

    /// - Throws: ``ErrorCode/malformed``.
    public init(_ message: Message) throws(WireError) {
        let payload = message.payload
        guard message.type == .typing || message.type == .presence, let sender = message.sender.user,
            message.channel != nil, payload.readableBytes == 1,
            let state = payload.getInteger(at: payload.readerIndex, as: UInt8.self).flatMap(State.init(rawValue:)),
            state != .away || message.type == .presence
        else { throw WireError(.malformed, "no typing or presence notice", header: message.header) }
        self.init(type: message.type, state: state, sender: sender, receiver: message.receiver)
    }
}
