// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport

/// What an end declares about itself in its first frame (draft-ietf-quic-qmux-02, section 5; RFC 9000, section 18.2).
package struct QMuxTransportParameters: Hashable, Sendable {
    /// Milliseconds; 0 means none.
    package var maxIdleTimeout: UInt64 = 0
    package var initialMaxData: UInt64 = 0
    package var initialMaxStreamDataBidirectionalLocal: UInt64 = 0
    package var initialMaxStreamDataBidirectionalRemote: UInt64 = 0
    package var initialMaxStreamDataUnidirectional: UInt64 = 0
    package var initialMaxStreamsBidirectional: UInt64 = 0
    package var initialMaxStreamsUnidirectional: UInt64 = 0
    /// RFC 9221; 0 refuses datagrams.
    package var maxDatagramFrameSize: UInt64 = 0
    package var maxRecordSize = QMuxTransportParameters.defaultMaxRecordSize
    package var allowsResetStreamAt = false

    /// With its two-byte size, one full TLS record of 16 KiB.
    package static let defaultMaxRecordSize: UInt64 = 16_382

    private enum Identifier {
        static let maxIdleTimeout: UInt64 = 0x01
        static let initialMaxData: UInt64 = 0x04
        static let initialMaxStreamDataBidirectionalLocal: UInt64 = 0x05
        static let initialMaxStreamDataBidirectionalRemote: UInt64 = 0x06
        static let initialMaxStreamDataUnidirectional: UInt64 = 0x07
        static let initialMaxStreamsBidirectional: UInt64 = 0x08
        static let initialMaxStreamsUnidirectional: UInt64 = 0x09
        static let resetStreamAt: UInt64 = 0x1d
        static let maxDatagramFrameSize: UInt64 = 0x20
        static let maxRecordSize: UInt64 = 0x0571_c594_29cd_0845
        /// All others of RFC 9000, section 18.2.
        static let prohibited: Set<UInt64> = [0x00, 0x02, 0x03, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10]
    }

    package init() {}

    /// What an end with these limits declares.
    package init(_ limits: ConnectionLimits) {
        let flow = QMuxConnectionFlow(limits)
        self.maxIdleTimeout = limits.idleTimeout.map { UInt64(clamping: max($0.nanoseconds / 1_000_000, 1)) } ?? 0
        self.initialMaxData = flow.window
        self.initialMaxStreamDataBidirectionalLocal = flow.streamWindow
        self.initialMaxStreamDataBidirectionalRemote = flow.streamWindow
        self.initialMaxStreamDataUnidirectional = flow.streamWindow
        self.initialMaxStreamsBidirectional = min(
            UInt64(clamping: limits.bidirectionalStreams), QMuxFrame.maximumStreamCount)
        self.initialMaxStreamsUnidirectional = min(
            UInt64(clamping: limits.unidirectionalStreams), QMuxFrame.maximumStreamCount)
        self.maxDatagramFrameSize = UInt64(clamping: limits.datagramFrameSize)
        self.allowsResetStreamAt = true
    }

    /// The list as it stands in the frame; parameters that have their default value are left out.
    package func encoded() -> ByteBuffer {
        var list = ByteBuffer()
        let integers: [(identifier: UInt64, value: UInt64, absent: UInt64)] = [
            (Identifier.maxIdleTimeout, self.maxIdleTimeout, 0),
            (Identifier.initialMaxData, self.initialMaxData, 0),
            (Identifier.initialMaxStreamDataBidirectionalLocal, self.initialMaxStreamDataBidirectionalLocal, 0),
            (Identifier.initialMaxStreamDataBidirectionalRemote, self.initialMaxStreamDataBidirectionalRemote, 0),
            (Identifier.initialMaxStreamDataUnidirectional, self.initialMaxStreamDataUnidirectional, 0),
            (Identifier.initialMaxStreamsBidirectional, self.initialMaxStreamsBidirectional, 0),
            (Identifier.initialMaxStreamsUnidirectional, self.initialMaxStreamsUnidirectional, 0),
            (Identifier.maxDatagramFrameSize, self.maxDatagramFrameSize, 0),
            (Identifier.maxRecordSize, self.maxRecordSize, Self.defaultMaxRecordSize),
        ]
        for (identifier, value, absent) in integers where value != absent {
            let value = min(value, QMuxFrame.maximumInteger)
            list.writeVariableIntegers(identifier, UInt64(ByteBuffer.variableIntegerSize(value)), value)
        }
        if self.allowsResetStreamAt { list.writeVariableIntegers(Identifier.resetStreamAt, 0) }
        return list
    }

    /// Reads a peer's list.
    package init(decoding list: ByteBuffer) throws(QMuxViolation) {
        var list = list
        var seen: Set<UInt64> = []
        while list.readableBytes > 0 {
            guard let identifier = list.readVariableInteger(), let length = list.readVariableInteger(),
                length <= UInt64(list.readableBytes), let value = list.readSlice(length: Int(length))
            else { throw .transportParameter("a truncated transport parameter") }
            guard seen.insert(identifier).inserted else {
                throw .transportParameter("transport parameter 0x\(String(identifier, radix: 16)) came twice")
            }
            try self.set(identifier, to: value)
        }
    }

    private mutating func set(_ identifier: UInt64, to value: ByteBuffer) throws(QMuxViolation) {
        switch identifier {
        case Identifier.maxIdleTimeout: self.maxIdleTimeout = try Self.integer(value)
        case Identifier.initialMaxData: self.initialMaxData = try Self.integer(value)
        case Identifier.initialMaxStreamDataBidirectionalLocal:
            self.initialMaxStreamDataBidirectionalLocal = try Self.integer(value)
        case Identifier.initialMaxStreamDataBidirectionalRemote:
            self.initialMaxStreamDataBidirectionalRemote = try Self.integer(value)
        case Identifier.initialMaxStreamDataUnidirectional:
            self.initialMaxStreamDataUnidirectional = try Self.integer(value)
        case Identifier.initialMaxStreamsBidirectional:
            self.initialMaxStreamsBidirectional = try Self.streamCount(value)
        case Identifier.initialMaxStreamsUnidirectional:
            self.initialMaxStreamsUnidirectional = try Self.streamCount(value)
        case Identifier.maxDatagramFrameSize: self.maxDatagramFrameSize = try Self.integer(value)
        case Identifier.maxRecordSize:
            self.maxRecordSize = try Self.integer(value)
            guard self.maxRecordSize >= Self.defaultMaxRecordSize else {
                throw .transportParameter("max_record_size is below \(Self.defaultMaxRecordSize)")
            }
        case Identifier.resetStreamAt:
            guard value.readableBytes == 0 else { throw .transportParameter("reset_stream_at is not empty") }
            self.allowsResetStreamAt = true
        case _ where Identifier.prohibited.contains(identifier):
            throw .transportParameter("transport parameter 0x\(String(identifier, radix: 16)) may not be used")
        default:
            break  // MUST be ignored: extensions and grease (section 5.1).
        }
    }

    private static func integer(_ value: ByteBuffer) throws(QMuxViolation) -> UInt64 {
        var value = value
        guard let integer = value.readVariableInteger(), value.readableBytes == 0 else {
            throw .transportParameter("a transport parameter whose length is not that of its integer")
        }
        return integer
    }

    /// RFC 9000, section 4.6: more than 2^60 streams cannot be numbered.
    private static func streamCount(_ value: ByteBuffer) throws(QMuxViolation) -> UInt64 {
        let count = try self.integer(value)
        guard count <= QMuxFrame.maximumStreamCount else {
            throw .transportParameter("a stream count above 2^60")
        }
        return count
    }
}
