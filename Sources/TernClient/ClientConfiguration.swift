// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages

/// How a ``MessageClient`` behaves.
public struct ClientConfiguration: Sendable {
    /// What proves who we are, as Docs/PROTOCOL.md section 5 says.
    public var token: String
    /// Asked for a token before each authentication, in place of ``token``, by clients that outlive their tokens: a server ends a
    /// connection with the token that it began with. It has ``requestTimeout``, together with the server. An attempt fails with what it
    /// throws, and is repeated as any other. A token that is refused because of its time is tried again only if there is another one by then.
    public var tokenSource: (@Sendable () async throws -> String)?
    /// Shown to the server, such as `tern 0.1`.
    public var program: String?
    /// From where messages are delivered; `nil` for a client that only sends, which then costs the server no catching up.
    public var receives: ReceiveStart?
    /// Messages that wait for their acknowledgement; ``MessageClient/enqueue(_:to:type:id:)`` suspends above it.
    public var outboxCapacity = 1024
    /// Messages of one channel that are written without waiting for their answers.
    public var messagesInFlight = 256
    /// Updates that wait for their reader; above it the client reads no more messages from the connection. Of what is only of the
    /// moment, such as receipts and the story of the connection, the newest is kept.
    public var updateCapacity = 1024
    /// Whether the server is told what this device received. Each update that was taken counts as received.
    public var sendsDeliveredReceipts = true
    /// An authentication without an answer for this long fails; that of the very first connection is tried once more on another
    /// one. So does a request, after it was asked once more on another connection.
    public var requestTimeout: Duration = .seconds(10)
    public var liveness = LivenessPolicy()
    public var reconnecting = ReconnectPolicy()

    public init(token: String, receives: ReceiveStart? = .live) {
        self.token = token
        self.receives = receives
    }
}

/// When a connection counts as dead and is replaced. Carriers notice by themselves too, but only after their idle timeout.
public struct LivenessPolicy: Sendable, Hashable {
    /// After this much silence the server is pinged while messages wait for their acknowledgement, or requests for their answers.
    public var busyPingInterval: Duration = .milliseconds(1500)
    /// After this much silence the server is pinged while nothing is waited for. Longer saves a phone's battery, shorter notices
    /// earlier that no messages can arrive.
    public var idlePingInterval: Duration = .seconds(5)
    /// A ping without any sign of the server for this long: the connection is dead.
    public var pingTimeout: Duration = .milliseconds(1500)
    /// The server answers pings but acknowledges nothing for this long: its disk hangs, say. Another connection is tried.
    public var answerTimeout: Duration = .seconds(30)

    public init() {}
}

/// From where a client wants a channel's messages, when it sees the channel for the first time.
public enum ReceiveStart: Sendable, Hashable {
    /// What is stored from now on. "Now" is the moment in which the server first told all channels of the user (its index): of
    /// those everything is delivered that is stored after it, and perhaps a little of what was stored since the client connected. A
    /// channel that comes to light later, while the client is connected or away, is new: a conversation is delivered from its first
    /// message, a group from the user's joining on. Where a server tells neither when that was nor that earlier messages may not be
    /// read, a group that this client joined begins when the join was answered, and any other with its first message.
    case live
    /// From this sequence of every channel on; 1 is the beginning.
    case sequence(UInt64)
}

/// When to connect again. The first time at once, then after delays that double, each shortened by a random part so that many clients
/// do not come back at the same moment.
public struct ReconnectPolicy: Sendable, Hashable {
    public var initialDelay: Duration = .milliseconds(100)
    public var maximumDelay: Duration = .seconds(5)
    /// Up to this part of a delay is taken away at random.
    public var jitter = 0.5
    /// A connection that ends sooner, without having done anything for the application, counts as a failed attempt: the delays go
    /// on to grow.
    public var settlesAfter: Duration = .seconds(5)
    /// Give up when there was no connection for this long; `nil`: never.
    public var giveUpAfter: Duration?
    /// Whether the very first connection is tried again too; otherwise its failure ends the client at once.
    public var retriesFirstConnection = false

    public init() {}

    /// - Parameters:
    ///   - attempt: 0 for the first one after a connection was lost.
    ///   - random: 0 ..< 1.
    func delay(beforeAttempt attempt: Int, random: Double) -> Duration {
        guard attempt > 0 else { return .zero }
        let doubled = self.initialDelay * (1 << min(attempt - 1, 16))
        return min(doubled, self.maximumDelay) * (1 - self.jitter * random)
    }
}
