// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport

@testable import TernQMuxCore

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        self.state = seed
    }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// One core under test, with a peer that is written by hand.
struct LoneCore {
    let core: QMuxConnectionCore
    var now: NIODeadline = .uptimeNanoseconds(1_000_000_000)

    init(
        role: ConnectionRole = .server, limits: ConnectionLimits = ConnectionLimits(),
        peer: QMuxTransportParameters? = QMuxTransportParameters(ConnectionLimits()),
        configuration: QMuxConfiguration = QMuxConfiguration()
    ) {
        self.core = QMuxConnectionCore(role: role, limits: limits, configuration: configuration, now: self.now)
        if let peer { self.receive([.transportParameters(peer.encoded())]) }
    }

    func receive(_ frames: [QMuxFrame]) {
        self.core.receive(record(frames), now: self.now)
    }

    func receive(_ bytes: [UInt8]) {
        self.core.receive(ByteBuffer(bytes: bytes), now: self.now)
    }

    /// A record with these bytes as its frames.
    func receiveRecord(_ frames: [UInt8]) {
        var bytes = ByteBuffer(variableInteger: UInt64(frames.count))
        bytes.writeBytes(frames)
        self.core.receive(bytes, now: self.now)
    }

    func events() -> [QMuxEvent] {
        var events: [QMuxEvent] = []
        while let event = self.core.nextEvent() { events.append(event) }
        return events
    }

    /// Everything that it wants to send now, decoded.
    func sentFrames() -> [QMuxFrame] {
        var frames: [QMuxFrame] = []
        while let bytes = self.core.nextBytes(now: self.now) { frames += decode(bytes) }
        return frames
    }
}

func record(_ frames: [QMuxFrame]) -> ByteBuffer {
    var body = ByteBuffer()
    for frame in frames { frame.write(to: &body) }
    var bytes = ByteBuffer(variableInteger: UInt64(body.readableBytes))
    bytes.writeBuffer(&body)
    return bytes
}

/// The frames of whole records.
func decode(_ bytes: ByteBuffer) -> [QMuxFrame] {
    var bytes = bytes
    var frames: [QMuxFrame] = []
    while let size = bytes.readVariableInteger(), var body = bytes.readSlice(length: Int(size)) {
        while body.readableBytes > 0 {
            do { frames.append(try QMuxFrame.read(from: &body)) } catch { return frames }
        }
    }
    return frames
}

/// Two cores, and what is on the way between them.
struct CorePair {
    let client: QMuxConnectionCore
    let server: QMuxConnectionCore
    var now: NIODeadline = .uptimeNanoseconds(1_000_000_000)
    var generator: SeededGenerator
    var clientEvents: [QMuxEvent] = []
    var serverEvents: [QMuxEvent] = []
    /// Called for each event; answers whether received bytes are consumed at once.
    var consumesAtOnce = true

    init(
        client: ConnectionLimits = ConnectionLimits(), server: ConnectionLimits = ConnectionLimits(), seed: UInt64 = 1,
        configuration: QMuxConfiguration = QMuxConfiguration()
    ) {
        self.client = QMuxConnectionCore(role: .client, limits: client, configuration: configuration, now: self.now)
        self.server = QMuxConnectionCore(role: .server, limits: server, configuration: configuration, now: self.now)
        self.generator = SeededGenerator(seed: seed)
    }

    /// Moves bytes in pieces of random size until both ends are silent.
    mutating func pump(maximumPiece: Int = 20_000) {
        var isBusy = true
        while isBusy {
            isBusy = self.move(from: self.client, to: self.server, maximumPiece)
            isBusy = self.move(from: self.server, to: self.client, maximumPiece) || isBusy
            isBusy = self.drain() || isBusy
        }
    }

    private mutating func move(
        from: QMuxConnectionCore, to: QMuxConnectionCore, _ maximumPiece: Int
    ) -> Bool {
        guard var bytes = from.nextBytes(limit: Int.random(in: 2...20_000, using: &self.generator), now: self.now)
        else {
            return false
        }
        while bytes.readableBytes > 0 {
            let count = min(bytes.readableBytes, Int.random(in: 1...maximumPiece, using: &self.generator))
            if let piece = bytes.readSlice(length: count) { to.receive(piece, now: self.now) }
        }
        return true
    }

    @discardableResult
    mutating func drain() -> Bool {
        let before = self.clientEvents.count + self.serverEvents.count
        while let event = self.client.nextEvent() {
            self.clientEvents.append(event)
            self.consume(event, at: self.client)
        }
        while let event = self.server.nextEvent() {
            self.serverEvents.append(event)
            self.consume(event, at: self.server)
        }
        return self.clientEvents.count + self.serverEvents.count > before
    }

    private func consume(_ event: QMuxEvent, at core: QMuxConnectionCore) {
        guard self.consumesAtOnce, case .streamReceived(let stream, let bytes, _) = event else { return }
        core.consumed(bytes.readableBytes, of: stream)
    }
}

/// All bytes of one stream among `events`.
func receivedBytes(_ events: [QMuxEvent], of wanted: StreamID) -> ByteBuffer {
    var all = ByteBuffer()
    for case .streamReceived(wanted, let bytes, _) in events { all.writeImmutableBuffer(bytes) }
    return all
}

func pattern(_ count: Int, seed: Int) -> ByteBuffer {
    ByteBuffer(bytes: (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ seed) % 251) })
}
