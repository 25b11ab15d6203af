// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport

/// What both ends did and heard, and every contradiction between them.
package final class Ledger {
    /// One direction of one stream.
    package struct Half {
        var written = 0
        var isFinished = false
        var resetCode: UInt64?
        var stopCode: UInt64?

        var received = 0
        var consumed = 0
        var hasEnded = false
        var heardReset = false

        var isMissing: Bool {
            guard self.stopCode == nil, self.resetCode == nil, self.isFinished else { return false }
            return !self.hasEnded || self.received != self.written
        }
    }

    struct Key: Hashable {
        var stream: StreamID
        var sender: ConnectionRole
    }

    package private(set) var failures: [String] = []
    private var halves: [Key: Half] = [:]
    private var unconsumed: [ConnectionRole: Int] = [.client: 0, .server: 0]
    private var datagramsSent: [ConnectionRole: Set<UInt64>] = [.client: [], .server: []]
    private var datagramsHeard: [ConnectionRole: Set<UInt64>] = [.client: [], .server: []]
    package private(set) var bytesDelivered = 0

    package init() {}

    package func fail(_ message: String) {
        if self.failures.count < 10 { self.failures.append(message) }
    }

    private func with(_ stream: StreamID, sender: ConnectionRole, _ body: (inout Half) -> Void) {
        body(&self.halves[Key(stream: stream, sender: sender), default: Half()])
    }

    // MARK: What an end does

    func wrote(_ count: Int, on stream: StreamID, by role: ConnectionRole, finish: Bool) {
        self.with(stream, sender: role) { half in
            half.written += count
            half.isFinished = finish
        }
    }

    func didReset(_ stream: StreamID, by role: ConnectionRole, code: UInt64) {
        self.with(stream, sender: role) { $0.resetCode = code }
    }

    func didStop(_ stream: StreamID, by role: ConnectionRole, code: UInt64) {
        var returned = 0
        self.with(stream, sender: role.peer) { half in
            half.stopCode = code
            // The carrier returns the credit of a stopped stream by itself.
            returned = half.received - half.consumed
            half.consumed = half.received
        }
        self.unconsumed[role, default: 0] -= returned
    }

    func consumed(_ count: Int, on stream: StreamID, by role: ConnectionRole) {
        self.with(stream, sender: role.peer) { $0.consumed += count }
        self.unconsumed[role, default: 0] -= count
    }

    func sentDatagram(_ number: UInt64, by role: ConnectionRole) {
        self.datagramsSent[role, default: []].insert(number)
    }

    // MARK: What an end hears

    func heard(
        _ bytes: ByteBuffer, on stream: StreamID, by role: ConnectionRole, finished: Bool, windows: (Int, Int)
    ) {
        self.with(stream, sender: role.peer) { half in
            if half.hasEnded || half.heardReset { self.fail("\(role): bytes after the end of \(stream)") }
            if half.stopCode != nil { self.fail("\(role): bytes of \(stream), which it had stopped") }
            if half.received + bytes.readableBytes > half.written {
                self.fail("\(role): more bytes of \(stream) than were written")
            }
            if !Content.matches(bytes, of: stream, from: role.peer, at: half.received) {
                self.fail("\(role): other bytes of \(stream) at \(half.received) than were written")
            }
            half.received += bytes.readableBytes
            half.hasEnded = finished
            if finished, !half.isFinished || half.received != half.written {
                self.fail("\(role): \(stream) ended at \(half.received); \(half.written) bytes were written")
            }
            if half.received - half.consumed > windows.1 { self.fail("\(role): \(stream) exceeded its window") }
        }
        self.bytesDelivered += bytes.readableBytes
        self.unconsumed[role, default: 0] += bytes.readableBytes
        if self.unconsumed[role, default: 0] > windows.0 { self.fail("\(role): the connection's window was exceeded") }
    }

    func heardReset(_ stream: StreamID, by role: ConnectionRole, code: UInt64) {
        self.with(stream, sender: role.peer) { half in
            if half.hasEnded || half.heardReset { self.fail("\(role): a reset after the end of \(stream)") }
            if half.resetCode != code, half.stopCode != code {
                self.fail("\(role): \(stream) was reset with \(code), not \(String(describing: half.resetCode))")
            }
            half.heardReset = true
            self.unconsumed[role, default: 0] -= half.received - half.consumed
            half.consumed = half.received
        }
    }

    func heardStop(_ stream: StreamID, by role: ConnectionRole, code: UInt64) {
        self.with(stream, sender: role) { half in
            if half.stopCode != code {
                self.fail("\(role): \(stream) was stopped with \(code), not \(String(describing: half.stopCode))")
            }
        }
    }

    func heardDatagram(_ bytes: ByteBuffer, by role: ConnectionRole) {
        guard let number = bytes.getInteger(at: bytes.readerIndex, as: UInt64.self),
            self.datagramsSent[role.peer, default: []].contains(number)
        else { return self.fail("\(role): a datagram that was never sent") }
        if bytes != Content.datagram(number, size: bytes.readableBytes) { self.fail("\(role): a changed datagram") }
        if !self.datagramsHeard[role, default: []].insert(number).inserted { self.fail("\(role): a datagram twice") }
    }

    package func datagramsHeard(by role: ConnectionRole) -> Int { self.datagramsHeard[role, default: []].count }

    var hasAllArrived: Bool { !self.halves.values.contains { $0.isMissing } }

    /// After everything: what was finished arrived whole, unless somebody gave it up.
    func checkAllArrived() {
        for (key, half) in self.halves.sorted(by: { $0.key.stream < $1.key.stream }) {
            if half.isMissing {
                self.fail("\(key.stream) from the \(key.sender): \(half.received) of \(half.written) bytes arrived")
            }
        }
    }
}

/// Bytes that show where they belong.
package enum Content {
    private static let period = 251
    private static let table = ByteBuffer(bytes: (0..<(period * 300)).map { UInt8(($0 &* 31) % period) })

    private static func start(of stream: StreamID, from role: ConnectionRole, at offset: Int) -> Int {
        (Int(truncatingIfNeeded: stream.rawValue % 1000) * 7 + (role == .client ? 0 : 101) + offset) % self.period
    }

    package static func bytes(of stream: StreamID, from role: ConnectionRole, at offset: Int, count: Int) -> ByteBuffer
    {
        var bytes = ByteBuffer()
        while bytes.readableBytes < count {
            let length = min(count - bytes.readableBytes, 65_000)
            let start = self.start(of: stream, from: role, at: offset + bytes.readableBytes)
            bytes.writeImmutableBuffer(self.table.getSlice(at: start, length: length) ?? ByteBuffer())
        }
        return bytes
    }

    static func matches(_ bytes: ByteBuffer, of stream: StreamID, from role: ConnectionRole, at offset: Int) -> Bool {
        bytes == self.bytes(of: stream, from: role, at: offset, count: bytes.readableBytes)
    }

    static func datagram(_ number: UInt64, size: Int) -> ByteBuffer {
        var bytes = ByteBuffer(integer: number)
        bytes.writeRepeatingByte(UInt8(truncatingIfNeeded: number), count: max(size - 8, 0))
        return bytes
    }
}

extension ConnectionRole {
    package var peer: ConnectionRole { self == .client ? .server : .client }
}
