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
    private var keys: QUICPacketKeys
    private var keyPhase = false
    private var victimsKeys: QUICPacketKeys?
    /// The number of the latest packet that the victim sent.
    private(set) var heard: UInt64 = 0
    private let destination: QUICConnectionID
    /// What the victim asked of a path.
    private var challenge: [UInt8]?
    /// Of the latest packet that was sealed under a number of its own.
    private(set) var number: UInt64 = 1000
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

    /// - Parameters:
    ///   - limits: of the victim.
    ///   - sendsTickets: of the server's TLS, which speaks first after the handshake then.
    init(
        against victim: ConnectionRole = .server, limits: ConnectionLimits = ConnectionLimits(),
        growsWindows: Bool = true, sendsTickets: Bool = true
    ) throws {
        var session: TLSSession?
        let pair = try Pair(
            clientLimits: victim == .client ? limits : ConnectionLimits(),
            serverLimits: victim == .server ? limits : ConnectionLimits(),
            makeServerSession: {
                let made = try Sessions.server(protocols: ["test/1"], sendsTickets: sendsTickets)
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
        self.destination = self.core.native.sourceConnectionID
    }

    deinit {
        self.buffer.deallocate()
    }

    /// What the victim's application sees.
    var end: End { self.victim == .server ? self.pair.server : self.pair.client }

    /// Says something; to a server, from a port of its host.
    ///
    /// - Parameters:
    ///   - number: that the packet gets; `nil` for the next one.
    ///   - id: of the victim's; `nil` for its first.
    func say(
        _ frames: QUICFrames, number: UInt64? = nil, to id: QUICConnectionID? = nil, port: Int = 40_000,
        from host: String = "192.0.2.1"
    ) throws {
        try self.tell(frames, number: number, to: id, port: port, from: host)
        self.hear()
        self.end.drain()
    }

    /// Says something in the middle of a turn: the victim writes nothing yet.
    func tell(
        _ frames: QUICFrames, number: UInt64? = nil, to id: QUICConnectionID? = nil, port: Int = 40_000,
        from host: String = "192.0.2.1"
    ) throws {
        try self.deliver(self.seal(frames, number: number, to: id), port: port, from: host)
    }

    func seal(_ frames: QUICFrames, number: UInt64? = nil, to id: QUICConnectionID? = nil) -> [UInt8] {
        if number == nil { self.number += 1 }
        let id = id ?? self.destination
        return self.keys.seal(
            frames.bytes, number: number ?? self.number, to: (0..<id.count).map { id[$0] }, keyPhase: self.keyPhase)
    }

    func deliver(_ packet: [UInt8], port: Int = 40_000, from host: String = "192.0.2.1") throws {
        let path =
            self.victim == .client
            ? self.pair.clientPath
            : QUICPath(local: self.pair.serverPath.local, remote: try SocketAddress(ipAddress: host, port: port))
        packet.withUnsafeBytes { self.core.receive($0, path: path, ecn: .notECT, now: self.pair.now) }
        self.end.drain()
    }

    /// What is sealed from now on has new keys (RFC 9001, section 6); the victim follows.
    func updateKeys() {
        self.keys = self.keys.updated()
        self.keyPhase.toggle()
    }

    /// Takes what the victim sends.
    func hear() {
        let size = self.victim == .server ? QUICConnectionID.clientLength : QUICConnectionID.serverLength
        while let transmit = self.core.nextTransmit(into: self.buffer, now: self.pair.now) {
            for start in stride(from: 0, to: transmit.byteCount, by: transmit.segmentSize) {
                let packet = Array(self.buffer[start..<min(start + transmit.segmentSize, transmit.byteCount)])
                self.hear(packet, connectionIDSize: size)
            }
        }
    }

    private func hear(_ packet: [UInt8], connectionIDSize size: Int) {
        var opened = self.victimsKeys?.open(packet, connectionIDSize: size, largest: self.heard)
        if opened == nil, let keys = self.victimsKeys?.updated() {
            opened = keys.open(packet, connectionIDSize: size, largest: self.heard)
            if opened != nil { self.victimsKeys = keys }
        }
        guard let opened else { return }
        self.heard = max(self.heard, opened.number)
        // ngtcp2 begins such a packet with it.
        if opened.frames.first == 0x1a, opened.frames.count > 8 { self.challenge = Array(opened.frames[1...8]) }
    }

    /// Answers the latest PATH_CHALLENGE.
    func answerChallenge(port: Int) throws {
        guard let challenge = self.challenge else { return }
        self.challenge = nil
        var frames = QUICFrames()
        frames.raw([0x1b] + challenge)
        // What is padded proves that the path takes a full datagram.
        frames.raw([UInt8](repeating: 0, count: 1150))
        try self.say(frames, port: port)
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
