// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A request or a response as it crosses a request stream: 16 bytes of header, then the body. All big-endian:
/// body length 32, request identifier 64, resource 16, status 16.
///
/// The client chooses the identifier, not twice among its requests in flight on one stream; the response repeats it
/// together with the resource. `status` is 0 in a request, an ``ErrorCode`` in a response.
public struct RequestFrame: Sendable, Hashable {
    /// Bytes of the header.
    public static let headerSize = 16
    /// The largest body of a request that any server takes.
    public static let maximumRequestLength = 1 << 16
    /// The largest body of a response that a client must take.
    public static let maximumResponseLength = 1 << 21

    public var identifier: UInt64
    public var resource: Resource
    public var status: ErrorCode
    public var body: ByteBuffer

    public init(identifier: UInt64, resource: Resource, status: ErrorCode = .none, body: ByteBuffer = ByteBuffer()) {
        self.identifier = identifier
        self.resource = resource
        self.status = status
        self.body = body
    }

    /// Appends header and body.
    ///
    /// - Throws: ``ErrorCode/payloadTooLarge`` when the body is longer than ``maximumResponseLength``.
    public func encode(into buffer: inout ByteBuffer) throws(WireError) {
        guard self.body.readableBytes <= Self.maximumResponseLength else {
            throw WireError(.payloadTooLarge, "a body of \(self.body.readableBytes) bytes cannot be sent")
        }
        buffer.writeMultipleIntegers(
            UInt32(self.body.readableBytes), self.identifier, self.resource.rawValue, self.status.rawValue)
        buffer.writeImmutableBuffer(self.body)
    }

    /// The frame in a buffer of its own.
    public func encoded() throws(WireError) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(Self.headerSize + self.body.readableBytes)
        try self.encode(into: &buffer)
        return buffer
    }
}

/// Cuts the bytes of a request stream into frames. What it holds is bounded as in ``MessageDecoder``.
public struct RequestFrameDecoder: Sendable {
    private var buffer = ByteBuffer()
    private let maximumBodyLength: Int
    private var fatal: WireError?
    /// The frame whose body was too long, without the body.
    public private(set) var refused: RequestFrame?

    /// - Parameter maximumBodyLength: a longer body is an error that ends the stream.
    public init(maximumBodyLength: Int) {
        self.maximumBodyLength = maximumBodyLength
    }

    /// Whether the stream may end here.
    public var isEmpty: Bool { self.buffer.readableBytes == 0 }

    /// The memory that the decoder keeps, in bytes.
    public var heldBytes: Int { self.buffer.storageCapacity }

    public mutating func append(_ bytes: ByteBuffer) {
        guard self.fatal == nil else { return }
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole frame; `nil` when more bytes are needed.
    ///
    /// - Throws: ``ErrorCode/payloadTooLarge``, again at every later call.
    public mutating func next() throws(WireError) -> RequestFrame? {
        if let fatal { throw fatal }
        var rest = self.buffer
        typealias Header = (UInt32, UInt64, UInt16, UInt16)
        guard let (length, identifier, resource, status) = rest.readMultipleIntegers(as: Header.self) else {
            return self.wait()
        }
        guard length <= UInt32(clamping: self.maximumBodyLength) else {
            let error = WireError(
                .payloadTooLarge, "a body of \(length) bytes; \(self.maximumBodyLength) are allowed")
            self.fatal = error
            self.refused = RequestFrame(identifier: identifier, resource: Resource(rawValue: resource))
            self.buffer = ByteBuffer()
            throw error
        }
        guard let body = rest.readSlice(length: Int(length)) else { return self.wait() }
        self.buffer = rest.readableBytes == 0 ? ByteBuffer() : rest
        if self.buffer.readerIndex > 1 << 16 { self.buffer.discardReadBytes() }
        return RequestFrame(
            identifier: identifier, resource: Resource(rawValue: resource), status: ErrorCode(rawValue: status),
            body: body.compacted())
    }

    /// More bytes are needed, and may be long in coming.
    private mutating func wait() -> RequestFrame? {
        self.buffer = self.buffer.compacted()
        return nil
    }

    /// To be called at the end of the stream.
    ///
    /// - Throws: ``ErrorCode/malformed`` when it ended inside a frame.
    public func finish() throws(WireError) {
        if let fatal { throw fatal }
        guard self.isEmpty else { throw WireError(.malformed, "the stream ended inside a request frame") }
    }
}
