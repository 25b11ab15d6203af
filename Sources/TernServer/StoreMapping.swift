// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernMessages
internal import TernStore

extension ChannelKey {
    init(_ channel: ChannelID) {
        self = channel.group.map { .group($0.rawValue) } ?? .direct(channel.first, channel.second)
    }
}

extension ChannelID {
    /// `nil` for a key that no store gives.
    init?(_ key: ChannelKey) {
        self.init(first: key.low, second: key.high)
    }
}

extension IdempotencyKey {
    init(_ id: ClientMessageID) {
        self.init(high: id.high, low: id.low)
    }
}

extension MessageSequence {
    /// A store that counts beyond 44 bits would take centuries.
    init(stored value: UInt64) {
        self = MessageSequence(rawValue: min(value, Self.maximumRawValue)) ?? .zero
    }
}

extension MessageTimestamp {
    init(stored value: UInt64) {
        self = MessageTimestamp(rawValue: min(value, Self.maximumRawValue)) ?? .none
    }
}

extension Failure {
    /// What a client is told about a failure of the store.
    init(_ error: StoreError, notFound: ErrorCode, sequence: MessageSequence = .zero, id: ClientMessageID? = nil) {
        // A client sends again what is retryable, for ever: so this is only for what may heal.
        var isRetryable: Bool?
        if error.code == .corrupt { isRetryable = false }
        let (code, text): (ErrorCode, String) =
            switch error.code {
            case .notFound: (notFound, "there is no such user or channel")
            case .conflict: (.conflict, "the message id was used for another message")
            case .invalidName: (.invalidName, "the name is empty, too long, or has control characters")
            case .quotaExceeded, .limitReached: (.quotaExceeded, error.message)
            case .groupFull: (.groupFull, error.message)
            case .notAMember: (.notAMember, "not a member of the channel")
            case .notInvited: (.notInvited, "nobody invited the user to the group")
            case .tooLarge: (.payloadTooLarge, "the message is larger than the store takes")
            case .readOnly: (.storageFull, "the server cannot store anything now")
            case .closed: (.draining, "the server is about to stop")
            case .corrupt: (.internal, "the server's log of this contradicts itself; an operator must restore it")
            default: (.internal, "the store failed")
            }
        self.init(code, text, isRetryable: isRetryable, sequence: sequence, id: id)
    }
}

extension ChannelMessage {
    /// As one of the channel's members is told; `nil` for what no client sent.
    init?(
        _ draft: Draft, epoch: UInt32, sequence: UInt64, timestamp: UInt64, previous: MessageSequence? = nil
    ) {
        guard let channel = ChannelID(draft.channel), let type = MessageType(rawValue: draft.type),
            let sender = UserID(rawValue: draft.sender.user), let receiver = channel.receiver(for: sender)
        else { return nil }
        self.init(
            type: type, sender: sender, senderDevice: DeviceID(rawValue: draft.sender.device), receiver: receiver,
            channel: channel, epoch: Epoch(rawValue: UInt64(epoch)), sequence: MessageSequence(stored: sequence),
            previousSequence: previous, timestamp: MessageTimestamp(stored: timestamp),
            id: ClientMessageID(high: draft.key.high, low: draft.key.low),
            isEncrypted: MessageFlags(rawValue: draft.flags).contains(.encrypted), payload: draft.payload)
    }

    init?(_ stored: StoredMessage, of channel: ChannelKey, epoch: UInt32) {
        let draft = Draft(
            channel: channel, sender: stored.sender, key: stored.key, type: stored.type, flags: stored.flags,
            clientTimestamp: stored.clientTimestamp, payload: stored.payload)
        self.init(draft, epoch: epoch, sequence: stored.sequence, timestamp: stored.timestamp)
    }
}
