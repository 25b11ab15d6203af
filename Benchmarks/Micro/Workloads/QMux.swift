// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQMuxCore
internal import TernTransport

/// The frames of a busy record: 1 KiB of a stream, and credit for it and for the connection.
public struct QMuxFrames {
    private static let stream = StreamID(rawValue: 4)
    private let frames: [QMuxFrame]
    private var record = ByteBuffer()

    public init() {
        self.frames = [
            .stream(
                Self.stream, offset: 1 << 20, ByteBuffer(repeating: 7, count: 1_024), finished: false),
            .maxStreamData(Self.stream, 1 << 21),
            .maxData(1 << 22),
        ]
        self.record.reserveCapacity(2_048)
    }

    /// Encodes the frames `count` times.
    ///
    /// - Returns: the bytes written.
    public mutating func encode(_ count: Int) -> Int {
        var written = 0
        for _ in 0..<count {
            self.record.clear()
            for frame in self.frames { frame.write(to: &self.record) }
            written += self.record.readableBytes
        }
        return written
    }

    /// Decodes what ``encode(_:)`` wrote last, `count` times.
    ///
    /// - Returns: the number of frames.
    public mutating func decode(_ count: Int) throws -> Int {
        if self.record.readableBytes == 0 { _ = self.encode(1) }
        var found = 0
        for _ in 0..<count {
            var rest = self.record
            while rest.readableBytes > 0 {
                _ = try QMuxFrame.read(from: &rest)
                found += 1
            }
        }
        return found
    }
}

/// Two ends of QMux, and the memory between them in the place of TLS over TCP.
public final class QMuxPair {
    private let client: QMuxConnectionCore
    private let server: QMuxConnectionCore
    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var stream = StreamID(rawValue: 0)
    private let payload = ByteBuffer(repeating: 7, count: 1_024)
    private var arrived = 0

    /// Two ends that exchanged their transport parameters, and a stream.
    public init() throws {
        let limits = ConnectionLimits()
        self.client = QMuxConnectionCore(role: .client, limits: limits, now: self.now)
        self.server = QMuxConnectionCore(role: .server, limits: limits, now: self.now)
        self.move()
        guard let stream = try self.client.openStream(.bidirectional) else { throw WorkloadError("no stream") }
        self.stream = stream
        self.move()
    }

    /// Writes 1 KiB at the client and reads it at the server, `count` times: a record out, a record in, and the credit that
    /// comes back.
    ///
    /// - Returns: the bytes that arrived.
    public func transfer(_ count: Int) throws -> Int {
        self.arrived = 0
        for _ in 0..<count {
            self.now = self.now + .microseconds(50)
            _ = try self.client.write(self.payload, to: self.stream, finish: false)
            self.move()
        }
        guard self.arrived == count * self.payload.readableBytes else {
            throw WorkloadError("\(self.arrived) bytes arrived")
        }
        return self.arrived
    }

    private func move() {
        var moved = true
        while moved {
            let up = self.carry(from: self.client, to: self.server)
            let down = self.carry(from: self.server, to: self.client)
            moved = up || down
        }
    }

    private func carry(from one: QMuxConnectionCore, to other: QMuxConnectionCore) -> Bool {
        var moved = false
        while let bytes = one.nextBytes(now: self.now) {
            moved = true
            other.receive(bytes, now: self.now)
            while let event = other.nextEvent() {
                guard case .streamReceived(let stream, let bytes, _) = event else { continue }
                self.arrived += bytes.readableBytes
                other.consumed(bytes.readableBytes, of: stream)
            }
        }
        return moved
    }
}
