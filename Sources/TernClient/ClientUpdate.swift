// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import TernMessages
public import TernTransport

/// What a ``MessageClient`` tells, in the order in which it happened. More cases may come: handle the rest with `default`.
public enum ClientUpdate: Sendable {
    /// A message; those of one channel come in the order of their sequence, without gaps, each once. Messages that this client
    /// sent come too, when they are acknowledged.
    case message(ChannelMessage)
    /// A channel's log was restored or lost its tail: its messages come again from the start.
    case channelRestarted(ChannelID, Epoch)
    /// The server's log has no messages of these sequences, though it has later ones: its data were damaged, say. The messages after
    /// them follow.
    case messagesMissing(ChannelID, Epoch, ClosedRange<MessageSequence>)
    /// Somebody received or read up to a sequence.
    case receipt(Receipt)
    /// Somebody types, or comes or goes; unreliable.
    case notice(LiveNotice)
    case connected(ConnectionSummary)
    /// The connection ended; the client connects again after `retryingAfter`, or not at all when that is `nil`.
    case disconnected(String, retryingAfter: Duration?)
    /// The server can't take messages for the moment, such as with a full disk; they wait, and are sent again a little later.
    case refusedForNow(Failure)
    /// The server is about to stop. The client moves by itself: it finishes what is in flight, leaves, and comes back at a random
    /// moment within the time that the server said.
    case serverIsDraining
}

/// How the client is connected.
public struct ConnectionSummary: Sendable, Hashable {
    public var carrier: Carrier
    public var user: UserID
    public var userName: Name
    public var device: DeviceID
    public var deviceName: Name
    public var serverName: Name
    public var durability: Durability
}

/// A message that the server stored.
public struct SentMessage: Sendable, Hashable {
    public var channel: ChannelID
    public var epoch: Epoch
    public var sequence: MessageSequence
    public var id: ClientMessageID
    /// The server's time.
    public var timestamp: MessageTimestamp
    public var durability: Durability
    /// What carried the acknowledgement.
    public var carrier: Carrier
    /// It had been stored before: an earlier acknowledgement was lost.
    public var isDuplicate: Bool
}
