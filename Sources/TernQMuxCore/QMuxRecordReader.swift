// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// Cuts the byte stream into records (draft-ietf-quic-qmux-02, section 3.2). Holds less than one record.
struct QMuxRecordReader {
    /// The largest Size that we take.
    let maximumSize: UInt64
    private var received = ByteBuffer()
    /// What is in `received` is our caller's, who will use its memory again.
    private var isBorrowed = false
    private var hasSeenMagic = false

    init(maximumSize: UInt64) {
        self.maximumSize = maximumSize
    }

    /// Whether a part of a record waits for the rest.
    var holdsBytes: Bool { self.received.readableBytes > 0 }

    /// Call ``giveBack()`` when ``next()`` has no more records.
    mutating func append(_ bytes: ByteBuffer) {
        if self.received.readableBytes == 0 {
            self.received = bytes
            self.isBorrowed = true
        } else {
            self.received.discardReadBytes()
            self.received.writeImmutableBuffer(bytes)
        }
    }

    /// Lets go of the caller's memory: a part of a record that is left is copied.
    mutating func giveBack() {
        guard self.received.readableBytes > 0 else {
            self.received = ByteBuffer()
            return
        }
        // What is ours may have grown for records that are gone.
        guard self.isBorrowed || self.received.storageCapacity / 4 > self.received.readableBytes else { return }
        self.isBorrowed = false
        self.received = self.received.copied()
    }

    /// The frames of the next complete record.
    mutating func next() throws(QMuxViolation) -> ByteBuffer? {
        var rest = self.received
        guard let size = rest.readVariableInteger() else { return nil }
        guard size <= self.maximumSize else {
            throw .frameEncoding("a record of \(size) bytes; at most \(self.maximumSize) are allowed")
        }
        // RFC 9000, section 12.4: a payload MUST contain at least one frame.
        guard size > 0 else { throw .protocolViolation("an empty record") }
        try self.checkMagic(rest, size: Int(size))
        guard let frames = rest.readSlice(length: Int(size)) else { return nil }
        self.received = rest
        return frames
    }

    /// Recognises another protocol by its first bytes, instead of waiting for the rest of what looks like a long
    /// record.
    private mutating func checkMagic(_ frames: ByteBuffer, size: Int) throws(QMuxViolation) {
        guard !self.hasSeenMagic else { return }
        let first = Array(frames.readableBytesView.prefix(min(size, 8)))
        let isMagic = [QMuxFrameType.transportParameters, QMuxFrameType.transportParametersQMX].contains { type in
            first == Array(ByteBuffer(variableInteger: type).readableBytesView.prefix(first.count))
        }
        guard isMagic, size >= 8 else {
            throw .protocolViolation("the first frame is not QX_TRANSPORT_PARAMETERS")
        }
        self.hasSeenMagic = first.count == 8
    }
}

extension ByteBuffer {
    /// A copy that does not keep the memory of a larger buffer alive.
    func copied() -> ByteBuffer {
        var copy = ByteBuffer()
        copy.writeImmutableBuffer(self)
        return copy
    }

    init(variableInteger: UInt64) {
        self.init()
        self.writeVariableIntegers(variableInteger)
    }
}
