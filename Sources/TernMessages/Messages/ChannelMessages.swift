// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A message on its way to the server.
public struct OutgoingMessage: Sendable, Hashable {
    public var type: MessageType
    public var sender: UserID
    public var receiver: PartyID
    /// The sender's own counter, repeated in errors; any numbers do.
    public var sequence: MessageSequence
    public var id: ClientMessageID
    /// The sender's clock; the server stores its own.
    public var timestamp: MessageTimestamp
    public var isEncrypted: Bool
    public var payload: ByteBuffer

    public init(
        type: MessageType = .text, sender: UserID, receiver: PartyID, sequence: MessageSequence = .zero,
        id: ClientMessageID, timestamp: MessageTimestamp = .none, isEncrypted: Bool = false, payload: ByteBuffer
    ) {
        self.type = type
        self.sender = sender
        self.receiver = receiver
        self.sequence = sequence
        self.id = id
        self.timestamp = timestamp
        self.isEncrypted = isEncrypted
        self.payload = payload
    }

    public var message: Message {
        Message(
            type: self.type, flags: self.isEncrypted ? .encrypted : [], sender: PartyID(self.sender),
            receiver: self.receiver, sequence: self.sequence, timestamp: self.timestamp,
            extensions: [MessageExtension(.clientMessageID, isCritical: true, value: self.id.bytes)],
            payload: self.payload)
    }

    /// - Throws: ``ErrorCode/malformed``, ``ErrorCode/unsupportedType``.
    public init(_ message: Message) throws(WireError) {
        guard message.type.isContent else {
            throw WireError(.unsupportedType, "\(message.type) cannot be sent to a channel", header: message.header)
        }
        guard let sender = message.sender.user, let id = try message.extensions.clientMessageID else {
            throw WireError(.malformed, "a message needs a sender and a client message id", header: message.header)
        }
        self.init(
            type: message.type, sender: sender, receiver: message.receiver, sequence: message.sequence, id: id,
            timestamp: message.timestamp, isEncrypted: message.flags.contains(.encrypted), payload: message.payload)
    }
}

/// The server stored a message; how well is said by `durability`.
public struct Acknowledgement: Sendable, Hashable {
    public var sender: UserID
    public var receiver: PartyID
    /// The message's place in its channel.
    public var sequence: MessageSequence
    /// The server's clock when it stored the message.
    public var timestamp: MessageTimestamp
    public var id: ClientMessageID
    public var epoch: Epoch
    public var durability: Durability
    /// The message had been stored before: sequence and timestamp are those of the first time, the epoch is the present one.
    public var isDuplicate: Bool

    public init(
        sender: UserID, receiver: PartyID, sequence: MessageSequence, timestamp: MessageTimestamp, id: ClientMessageID,
        epoch: Epoch, durability: Durability, isDuplicate: Bool
    ) {
        self.sender = sender
        self.receiver = receiver
        self.sequence = sequence
        self.timestamp = timestamp
        self.id = id
        self.epoch = epoch
        self.durability = durability
        self.isDuplicate = isDuplicate
    }

    public var message: Message {
        Message(
            type: .acknowledgement, flags: self.isDuplicate ? .duplicate : [], sender: PartyID(self.sender),
            receiver: self.receiver, sequence: self.sequence, timestamp: self.timestamp,
            extensions: [
                MessageExtension(.clientMessageID, value: self.id.bytes),
                MessageExtension(.epoch, integer: self.epoch.rawValue),
                MessageExtension(.durability, integer: self.durability.rawValue),
            ])
    }

    /// - Throws: ``ErrorCode/malformed``.
    public init(_ message: Message) throws(WireError) {
        guard message.type == .acknowledgement, let sender = message.sender.user, message.channel != nil,
            let id = try message.extensions.clientMessageID, let epoch = try message.extensions.epoch,
            let durability = try message.extensions.durability
        else { throw WireError(.malformed, "no acknowledgement", header: message.header) }
        self.init(
            sender: sender, receiver: message.receiver, sequence: message.sequence, timestamp: message.timestamp,
            id: id, epoch: epoch, durability: durability, isDuplicate: message.flags.contains(.duplicate))
    }
}

/// A message of a channel's log, as the server pushes it and as history pages carry it.
public struct ChannelMessage: Sendable, Hashable {
    public var type: MessageType
    public var sender: UserID
    public var senderDevice: DeviceID?
    public var receiver: PartyID
    public var channel: ChannelID
    public var epoch: Epoch
    public var sequence: MessageSequence
    /// In a push: the sequence of this channel that this connection was pushed before, if there was one.
    public var previousSequence: MessageSequence?
    /// The server's clock when it stored the message.
    public var timestamp: MessageTimestamp
    public var id: ClientMessageID
    public var isEncrypted: Bool
    public var payload: ByteBuffer

    public init(
        type: MessageType, sender: UserID, senderDevice: DeviceID?, receiver: PartyID, channel: ChannelID, epoch: Epoch,
        sequence: MessageSequence, previousSequence: MessageSequence? = nil, timestamp: MessageTimestamp,
        id: ClientMessageID, isEncrypted: Bool = false, payload: ByteBuffer
    ) {
        self.type = type
        self.sender = sender
        self.senderDevice = senderDevice
        self.receiver = receiver
        self.channel = channel
        self.epoch = epoch
        self.sequence = sequence
        self.previousSequence = previousSequence
        self.timestamp = timestamp
        self.id = id
        self.isEncrypted = isEncrypted
        self.payload = payload
    }

    public var message: Message {
        var extensions = [
            MessageExtension(.clientMessageID, value: self.id.bytes),
            MessageExtension(.epoch, integer: self.epoch.rawValue),
        ]
        if let previousSequence {
            extensions.append(MessageExtension(.previousSequence, integer: previousSequence.rawValue))
        }
        if let senderDevice {
            extensions.append(MessageExtension(.senderDevice, integer: senderDevice.rawValue))
        }
        return Message(
            type: self.type, flags: self.isEncrypted ? .encrypted : [], sender: PartyID(self.sender),
            receiver: self.receiver, sequence: self.sequence, timestamp: self.timestamp, extensions: extensions,
            payload: self.payload)
    }

    /// - Throws: ``ErrorCode/malformed``.
    public init(_ message: Message) throws(WireError) {
        guard let sender = message.sender.user, let channel = message.channel, message.sequence > .zero,
            let id = try message.extensions.clientMessageID, let epoch = try message.extensions.epoch
        else { throw WireError(.malformed, "no message of a channel", header: message.header) }
        self.init(
            type: message.type, sender: sender, senderDevice: try message.extensions.senderDevice,
            receiver: message.receiver, channel: channel, epoch: epoch, sequence: message.sequence,
            previousSequence: try message.extensions.previousSequence, timestamp: message.timestamp, id: id,
            isEncrypted: message.flags.contains(.encrypted), payload: message.payload)
    }
}
