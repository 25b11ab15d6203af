// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import QUICPacketSupport
import TernTLS
import TernTransport
import Testing

@testable import TernQUICCore

/// A peer with keys that it has by right: its handshake is honest; then it speaks for itself, and keeps to no rule.
final class KeyedPeer {
    let pair: Pair
    /// Who is spoken to.
    let victim: ConnectionRole
    let core: QUICConnectionCore
    private let keys: QUICPacketKeys
    private let victimsKeys: QUICPacketKeys?
    /// The number of the latest packet that the victim sent.
    private(set) var heard: UInt64 = 0
    private let destination: [UInt8]
    private var number: UInt64 = 1000
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

    /// - Parameter limits: of the victim.
    init(
        against victim: ConnectionRole = .server, limits: ConnectionLimits = ConnectionLimits(),
        growsWindows: Bool = true
    ) throws {
        var session: TLSSession?
        let pair = try Pair(
            clientLimits: victim == .client ? limits : ConnectionLimits(),
            serverLimits: victim == .server ? limits : ConnectionLimits(),
            makeServerSession: {
                let made = try Sessions.server(protocols: ["test/1"])
                TLSSecretLog.watch(made)
                session = made
                return made
            }, growsWindows: growsWindows,
            configure: { client, _ in
                guard !growsWindows else { return }
                client.maximumConnectionWindow = client.limits.connectionWindow
                client.maximumStreamWindow = client.limits.streamWindow
            })
        try pair.establish()
        try pair.run(for: .seconds(1))
        self.pair = pair
        self.victim = victim
        self.core = try #require(victim == .server ? pair.server.core : pair.client.core)
        let attacker: ConnectionRole = victim == .server ? .client : .server
        self.keys = try #require(session.flatMap { TLSSecretLog.keys(of: $0, sentBy: attacker) })
        self.victimsKeys = session.flatMap { TLSSecretLog.keys(of: $0, sentBy: victim) }
        let id = self.core.native.sourceConnectionID
        self.destination = (0..<id.count).map { id[$0] }
    }

    deinit {
        self.buffer.deallocate()
    }

    /// What the victim's application sees.
    var end: End { self.victim == .server ? self.pair.server : self.pair.client }

    /// Says something; to a server, from a port of its host.
    func say(_ frames: QUICFrames, port: Int = 40_000, from host: String = "192.0.2.1") throws {
        try self.tell(frames, port: port, from: host)
        self.hear()
        self.end.drain()
    }

    /// Says something in the middle of a turn: the victim writes nothing yet.
    func tell(_ frames: QUICFrames, port: Int = 40_000, from host: String = "192.0.2.1") throws {
        self.number += 1
        let packet = self.keys.seal(frames.bytes, number: self.number, to: self.destination)
        let path =
            self.victim == .client
            ? self.pair.clientPath
            : QUICPath(local: self.pair.serverPath.local, remote: try SocketAddress(ipAddress: host, port: port))
        packet.withUnsafeBytes { self.core.receive($0, path: path, ecn: .notECT, now: self.pair.now) }
        self.end.drain()
    }

    /// Takes what the victim sends.
    func hear() {
        let size = self.victim == .server ? QUICConnectionID.clientLength : QUICConnectionID.serverLength
        while let transmit = self.core.nextTransmit(into: self.buffer, now: self.pair.now) {
            for start in stride(from: 0, to: transmit.byteCount, by: transmit.segmentSize) {
                let packet = Array(self.buffer[start..<min(start + transmit.segmentSize, transmit.byteCount)])
                let opened = self.victimsKeys?.open(packet, connectionIDSize: size, largest: self.heard)
                if let opened { self.heard = max(self.heard, opened.number) }
            }
        }
    }

    /// Acknowledges all of it.
    func acknowledge(in frames: inout QUICFrames) {
        guard self.heard > 0 else { return }
        frames.acknowledgement(upTo: self.heard, range: self.heard)
    }

    /// Time passes for the victim alone.
    func wait(_ time: TimeAmount) {
        let end = self.pair.now + time
        while let deadline = self.core.nextDeadline, deadline <= end {
            self.pair.now = max(self.pair.now, deadline)
            self.core.deadlineReached(now: self.pair.now)
            self.hear()
            self.end.drain()
        }
        self.pair.now = max(self.pair.now, end)
    }

    /// Time passes, and the victim may write nothing, as where the address that it would write to is not validated.
    func waitInSilence(_ time: TimeAmount) {
        let end = self.pair.now + time
        while let deadline = self.core.nextDeadline, deadline <= end {
            self.pair.now = max(self.pair.now + .milliseconds(1), deadline)
            self.core.deadlineReached(now: self.pair.now)
            self.end.drain()
            if self.pair.now >= end { break }
        }
        self.pair.now = max(self.pair.now, end)
    }
}
