// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Tern
internal import TernClient
internal import TernMessages
internal import TernTransport

/// The pure machines of a client: which carrier to connect over, whether the connection lives, what of a channel is there.
public enum Machines {
    /// Races QUIC against TCP, `count` times: the UDP of one address is silent, TCP starts, QUIC wins late.
    ///
    /// - Returns: how many were won.
    public static func race(_ count: Int) throws -> Int {
        let v6 = try SocketAddress(ipAddress: "2001:db8::1", port: 4433)
        let v4 = try SocketAddress(ipAddress: "192.0.2.1", port: 4433)
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
        var won = 0
        for _ in 0..<count {
            var race = ConnectionRace(policy: ConnectionPolicy(), target: "server:4433", now: start)
            _ = race.addressesResolved([v6], family: .v6, at: start)
            _ = race.addressesResolved([v4], family: .v4, at: start)
            var now = start
            while now < start + .milliseconds(300), let next = race.nextDeadline() {
                now = next
                _ = race.deadlineReached(at: now)
            }
            for case .finish in race.attemptSucceeded(0, at: now + .milliseconds(1)) { won += 1 }
        }
        return won
    }

    /// Lives through a second of a busy connection, `count` times: messages are sent and answered, and silence is asked after.
    ///
    /// - Returns: the pings.
    public static func health(_ count: Int) -> Int {
        var now = ContinuousClock.now
        var health = LinkHealth(LivenessPolicy(), now: now)
        var pings = 0
        for _ in 0..<count {
            health.beganWaiting(at: now)
            now += .milliseconds(500)
            if health.check(at: now) == .ping { pings += 1 }
            health.answered(stillWaiting: false, at: now)
            now += .milliseconds(500)
            if health.check(at: now) == .ping { pings += 1 }
        }
        return pings
    }

    /// Takes `count` messages of a channel, every second pair of them in the wrong order.
    ///
    /// - Returns: how many were handed on, in order.
    public static func log(_ count: Int) throws -> Int {
        guard let sender = UserID(rawValue: 7), let receiver = UserID(rawValue: 9) else {
            throw WorkloadError("no such user")
        }
        var log = ChannelLog(epoch: Epoch(rawValue: 5), next: 1)
        var message = ChannelMessage(
            type: .text, sender: sender, senderDevice: nil, receiver: PartyID(receiver),
            channel: ChannelID(direct: sender, receiver), epoch: Epoch(rawValue: 5), sequence: .zero,
            timestamp: .none, id: ClientMessageID(high: 1, low: 2), payload: ByteBuffer())
        var delivered = 0
        for index in 0..<UInt64(count) {
            let number = index & 2 == 0 ? index : index ^ 1
            guard let sequence = MessageSequence(rawValue: number + 1) else { throw WorkloadError("no sequence") }
            message.sequence = sequence
            delivered += log.received(message).count
        }
        return delivered
    }
}
