// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// As much of HTTP/3 (RFC 9114) as a GET and its answer need.
enum HTTP3 {
    static let applicationProtocol = "h3"
    /// The control stream's type, and a SETTINGS frame that changes nothing: no dynamic table.
    static let controlStream = ByteBuffer(bytes: [0x00, 0x04, 0x00])
    /// H3_NO_ERROR
    static let noError: UInt64 = 0x100
    /// H3_REQUEST_REJECTED
    static let rejected: UInt64 = 0x10b

    fileprivate static let data: UInt64 = 0x00
    fileprivate static let headers: UInt64 = 0x01

    static func request(for path: String, authority: String) -> ByteBuffer {
        // :method GET and :scheme https, then :authority and :path.
        let fields = QPACK.encode(indexed: [17, 23], named: [(0, authority), (1, path)])
        return Self.frame(Self.headers, length: fields.readableBytes, fields)
    }

    /// Everything of an answer but the file's bytes.
    static func answerHead(fileSize: Int) -> ByteBuffer {
        let fields = QPACK.encode(indexed: [25], named: [(4, "\(fileSize)")])
        var head = Self.frame(Self.headers, length: fields.readableBytes, fields)
        head.writeImmutableBuffer(Self.frame(Self.data, length: fileSize))
        return head
    }

    /// :status 404
    static let noSuchFile: ByteBuffer = {
        let fields = QPACK.encode(indexed: [27])
        return Self.frame(Self.headers, length: fields.readableBytes, fields)
    }()

    private static func frame(_ type: UInt64, length: Int, _ content: ByteBuffer = ByteBuffer()) -> ByteBuffer {
        var frame = ByteBuffer()
        frame.writeEncodedInteger(type, strategy: .quic)
        frame.writeEncodedInteger(length, strategy: .quic)
        frame.writeImmutableBuffer(content)
        return frame
    }

    /// The frames of a request or answer, as their bytes come.
    struct Frames {
        enum Event {
            case headers([QPACK.Field])
            case data(ByteBuffer)
        }

        struct Broken: Error {}

        private var waiting = ByteBuffer()
        /// What of a DATA frame, or of one that means nothing here, is still to come.
        private var rest: (type: UInt64, count: Int)?
        /// Larger field sections are refused.
        private static let largestSection = 64 << 10

        /// Whether the last frame is complete.
        var isAtBoundary: Bool { self.rest == nil && self.waiting.readableBytes == 0 }

        mutating func receive(_ bytes: ByteBuffer) {
            guard self.waiting.readableBytes > 0 else {
                self.waiting = bytes
                return
            }
            self.waiting.discardReadBytes()
            self.waiting.writeImmutableBuffer(bytes)
        }

        /// - Returns: `nil` until more comes.
        mutating func next() throws(Broken) -> Event? {
            while true {
                if let rest = self.rest {
                    let count = min(rest.count, self.waiting.readableBytes)
                    guard count > 0 || rest.count == 0, let piece = self.waiting.readSlice(length: count) else {
                        return nil
                    }
                    self.rest = rest.count == count ? nil : (rest.type, rest.count - count)
                    if rest.type == HTTP3.data, count > 0 { return .data(piece) }
                    continue
                }
                let start = self.waiting.readerIndex
                guard let type = self.waiting.readEncodedInteger(as: UInt64.self, strategy: .quic),
                    let length = self.waiting.readEncodedInteger(as: Int.self, strategy: .quic)
                else {
                    self.waiting.moveReaderIndex(to: start)
                    return nil
                }
                guard type == HTTP3.headers else {
                    self.rest = (type, length)
                    continue
                }
                guard length <= Self.largestSection else { throw Broken() }
                guard let section = self.waiting.readSlice(length: length) else {
                    self.waiting.moveReaderIndex(to: start)
                    return nil
                }
                guard let fields = QPACK.decode(section) else { throw Broken() }
                return .headers(fields)
            }
        }
    }
}
