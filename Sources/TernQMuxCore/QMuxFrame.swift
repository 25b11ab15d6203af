// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport

/// One frame of draft-ietf-quic-qmux-02; the formats are those of QUIC version 1 (RFC 9000, section 19).
package enum QMuxFrame: Hashable, Sendable {
    /// A run of PADDING frames.
    case padding(count: Int)
    case resetStream(StreamID, code: UInt64, finalSize: UInt64)
    case resetStreamAt(StreamID, code: UInt64, finalSize: UInt64, reliableSize: UInt64)
    case stopSending(StreamID, code: UInt64)
    case stream(StreamID, offset: UInt64, ByteBuffer, finished: Bool)
    case maxData(UInt64)
    case maxStreamData(StreamID, UInt64)
    case maxStreams(StreamDirection, UInt64)
    case dataBlocked(UInt64)
    case streamDataBlocked(StreamID, UInt64)
    case streamsBlocked(StreamDirection, UInt64)
    case connectionClose(code: UInt64, frameType: UInt64, reason: String)
    case applicationClose(code: UInt64, reason: String)
    /// `frameSize` counts the type and length fields too: what max_datagram_frame_size limits (RFC 9221, section 3).
    case datagram(ByteBuffer, frameSize: Int)
    /// The still encoded list.
    case transportParameters(ByteBuffer)
    case pingRequest(UInt64)
    case pingResponse(UInt64)

    /// The largest variable-length integer (RFC 9000, section 16).
    package static let maximumInteger: UInt64 = 1 << 62 - 1
    /// No stream count may be larger: its stream ID could not be written (RFC 9000, section 4.6).
    package static let maximumStreamCount: UInt64 = 1 << 60
}

extension QMuxFrame {
    /// Reads the next frame of a record; `record` ends where the record ends.
    package static func read(from record: inout ByteBuffer) throws(QMuxViolation) -> QMuxFrame {
        let start = record.readerIndex
        guard let type = record.readVariableInteger() else { throw .frameEncoding("a truncated frame type") }
        // RFC 9000, section 12.4: a frame type MUST use the shortest encoding.
        guard record.readerIndex - start == ByteBuffer.variableIntegerSize(type) else {
            throw .protocolViolation("a frame type in a longer encoding than it needs", type)
        }
        switch type {
        case QMuxFrameType.padding:
            return .padding(count: 1 + record.skipZeros())
        case QMuxFrameType.stream...(QMuxFrameType.stream + 7):
            return try self.readStream(type, from: &record)
        case QMuxFrameType.datagram, QMuxFrameType.datagramWithLength:
            let payload = try record.readPayload(hasLength: type == QMuxFrameType.datagramWithLength, of: type)
            return .datagram(payload, frameSize: record.readerIndex - start)
        case QMuxFrameType.connectionClose:
            return .connectionClose(
                code: try record.readField(of: type), frameType: try record.readField(of: type),
                reason: try record.readReason(of: type))
        case QMuxFrameType.applicationClose:
            return .applicationClose(code: try record.readField(of: type), reason: try record.readReason(of: type))
        case QMuxFrameType.transportParameters, QMuxFrameType.transportParametersQMX:
            return .transportParameters(try record.readPayload(hasLength: true, of: type))
        case QMuxFrameType.pingRequest:
            return .pingRequest(try record.readField(of: type))
        case QMuxFrameType.pingResponse:
            return .pingResponse(try record.readField(of: type))
        case QMuxFrameType.resetStream, QMuxFrameType.resetStreamAt, QMuxFrameType.stopSending:
            return try self.readAbandonment(type, from: &record)
        default:
            return try self.readFlowControl(type, from: &record)
        }
    }

    private static func readStream(_ type: UInt64, from record: inout ByteBuffer) throws(QMuxViolation) -> QMuxFrame {
        let stream = StreamID(rawValue: try record.readField(of: type))
        let offset = type & QMuxFrameType.streamOffsetBit == 0 ? 0 : try record.readField(of: type)
        let payload = try record.readPayload(hasLength: type & QMuxFrameType.streamLengthBit != 0, of: type)
        // RFC 9000, section 19.8: the largest offset cannot exceed 2^62-1.
        guard offset + UInt64(payload.readableBytes) <= self.maximumInteger else {
            throw .frameEncoding("a stream longer than 2^62-1 bytes", type)
        }
        return .stream(stream, offset: offset, payload, finished: type & QMuxFrameType.streamFinBit != 0)
    }

    private static func readAbandonment(
        _ type: UInt64, from record: inout ByteBuffer
    ) throws(QMuxViolation) -> QMuxFrame {
        let stream = StreamID(rawValue: try record.readField(of: type))
        let code = try record.readField(of: type)
        if type == QMuxFrameType.stopSending { return .stopSending(stream, code: code) }
        let finalSize = try record.readField(of: type)
        guard type == QMuxFrameType.resetStreamAt else {
            return .resetStream(stream, code: code, finalSize: finalSize)
        }
        let reliableSize = try record.readField(of: type)
        guard reliableSize <= finalSize else {
            throw .frameEncoding("a reliable size above the final size", type)
        }
        return .resetStreamAt(stream, code: code, finalSize: finalSize, reliableSize: reliableSize)
    }

    private static func readFlowControl(
        _ type: UInt64, from record: inout ByteBuffer
    ) throws(QMuxViolation) -> QMuxFrame {
        switch type {
        case QMuxFrameType.maxData:
            return .maxData(try record.readField(of: type))
        case QMuxFrameType.maxStreamData:
            return .maxStreamData(
                StreamID(rawValue: try record.readField(of: type)), try record.readField(of: type))
        case QMuxFrameType.maxStreamsBidirectional:
            return .maxStreams(.bidirectional, try record.readStreamCount(of: type))
        case QMuxFrameType.maxStreamsUnidirectional:
            return .maxStreams(.unidirectional, try record.readStreamCount(of: type))
        case QMuxFrameType.dataBlocked:
            return .dataBlocked(try record.readField(of: type))
        case QMuxFrameType.streamDataBlocked:
            return .streamDataBlocked(
                StreamID(rawValue: try record.readField(of: type)), try record.readField(of: type))
        case QMuxFrameType.streamsBlockedBidirectional:
            return .streamsBlocked(.bidirectional, try record.readStreamCount(of: type))
        case QMuxFrameType.streamsBlockedUnidirectional:
            return .streamsBlocked(.unidirectional, try record.readStreamCount(of: type))
        default:
            throw .frameEncoding("frame type 0x\(String(type, radix: 16)) may not be used", type)
        }
    }
}

extension QMuxFrame {
    /// The number that begins this frame on the wire; for STREAM the one without the field bits.
    package var type: UInt64 {
        switch self {
        case .padding: QMuxFrameType.padding
        case .resetStream: QMuxFrameType.resetStream
        case .resetStreamAt: QMuxFrameType.resetStreamAt
        case .stopSending: QMuxFrameType.stopSending
        case .stream: QMuxFrameType.stream
        case .maxData: QMuxFrameType.maxData
        case .maxStreamData: QMuxFrameType.maxStreamData
        case .maxStreams(.bidirectional, _): QMuxFrameType.maxStreamsBidirectional
        case .maxStreams(.unidirectional, _): QMuxFrameType.maxStreamsUnidirectional
        case .dataBlocked: QMuxFrameType.dataBlocked
        case .streamDataBlocked: QMuxFrameType.streamDataBlocked
        case .streamsBlocked(.bidirectional, _): QMuxFrameType.streamsBlockedBidirectional
        case .streamsBlocked(.unidirectional, _): QMuxFrameType.streamsBlockedUnidirectional
        case .connectionClose: QMuxFrameType.connectionClose
        case .applicationClose: QMuxFrameType.applicationClose
        case .datagram: QMuxFrameType.datagramWithLength
        case .transportParameters: QMuxFrameType.transportParameters
        case .pingRequest: QMuxFrameType.pingRequest
        case .pingResponse: QMuxFrameType.pingResponse
        }
    }

    /// Appends the frame. STREAM and DATAGRAM carry their length, so that other frames may follow. A number above
    /// ``maximumInteger`` is written as that.
    package func write(to record: inout ByteBuffer) {
        switch self {
        case .padding(let count):
            record.writeRepeatingByte(0, count: count)
        case .stream(let stream, let offset, let bytes, let finished):
            QMuxFrame.writeStreamHeader(
                stream, offset: offset, count: bytes.readableBytes, finished: finished, to: &record)
            record.writeImmutableBuffer(bytes)
        case .connectionClose(let code, let frameType, let reason):
            record.writeVariableIntegers(self.type, code, frameType, UInt64(reason.utf8.count))
            record.writeString(reason)
        case .applicationClose(let code, let reason):
            record.writeVariableIntegers(self.type, code, UInt64(reason.utf8.count))
            record.writeString(reason)
        case .datagram(let bytes, _), .transportParameters(let bytes):
            record.writeVariableIntegers(self.type, UInt64(bytes.readableBytes))
            record.writeImmutableBuffer(bytes)
        case .resetStream(let stream, let code, let finalSize):
            record.writeVariableIntegers(self.type, stream.rawValue, code, finalSize)
        case .resetStreamAt(let stream, let code, let finalSize, let reliableSize):
            record.writeVariableIntegers(self.type, stream.rawValue, code, finalSize, reliableSize)
        case .stopSending(let stream, let number), .maxStreamData(let stream, let number),
            .streamDataBlocked(let stream, let number):
            record.writeVariableIntegers(self.type, stream.rawValue, number)
        case .maxData(let number), .dataBlocked(let number), .maxStreams(_, let number),
            .streamsBlocked(_, let number), .pingRequest(let number), .pingResponse(let number):
            record.writeVariableIntegers(self.type, number)
        }
    }

    /// The fields of a STREAM frame before its data.
    static func writeStreamHeader(
        _ stream: StreamID, offset: UInt64, count: Int, finished: Bool, to record: inout ByteBuffer
    ) {
        var type = QMuxFrameType.stream | QMuxFrameType.streamLengthBit
        if offset > 0 { type |= QMuxFrameType.streamOffsetBit }
        if finished { type |= QMuxFrameType.streamFinBit }
        record.writeVariableIntegers(type, stream.rawValue)
        if offset > 0 { record.writeVariableIntegers(offset) }
        record.writeVariableIntegers(UInt64(count))
    }

    /// How many bytes ``writeStreamHeader(_:offset:count:finished:to:)`` takes.
    static func streamHeaderSize(_ stream: StreamID, offset: UInt64, count: Int) -> Int {
        1 + ByteBuffer.variableIntegerSize(stream.rawValue) + (offset > 0 ? ByteBuffer.variableIntegerSize(offset) : 0)
            + ByteBuffer.variableIntegerSize(UInt64(count))
    }
}
