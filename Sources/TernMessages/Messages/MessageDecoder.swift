// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// Cuts the bytes of a stream into messages, wherever the chunks end.
///
/// It holds what was appended and not yet taken: at most one incomplete message beyond the caller's chunks, if the
/// caller takes every message before it appends more. A message that it gives holds little more memory than its own
/// size: small parts of a large chunk are copied out of it.
///
/// When ``next()`` throws an error with ``WireError/isSkipped``, that message was or will be skipped and the next
/// call goes on behind it; after any other error the stream cannot be read further and every call throws the same
/// error.
public struct MessageDecoder: Sendable {
    private var buffer = ByteBuffer()
    private let maximumPayloadLength: Int
    /// Bytes of a refused payload that are still to be thrown away.
    private var bytesToSkip = 0
    private var fatal: WireError?

    /// - Parameter maximumPayloadLength: larger payloads are skipped with ``ErrorCode/payloadTooLarge``.
    public init(maximumPayloadLength: Int = MessageHeader.maximumPayloadLength) {
        self.maximumPayloadLength = maximumPayloadLength
    }

    /// Whether the stream may end here.
    public var isEmpty: Bool { self.buffer.readableBytes == 0 && self.bytesToSkip == 0 }

    /// The memory that the decoder keeps, in bytes.
    public var heldBytes: Int { self.buffer.storageCapacity }

    public mutating func append(_ bytes: ByteBuffer) {
        var bytes = bytes
        let skipped = min(self.bytesToSkip, bytes.readableBytes)
        bytes.moveReaderIndex(forwardBy: skipped)
        self.bytesToSkip -= skipped
        guard self.fatal == nil else { return }
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole message; `nil` when more bytes are needed.
    ///
    /// - Throws: ``ErrorCode/unsupportedVersion`` (never skipped); ``ErrorCode/payloadTooLarge``,
    ///   ``ErrorCode/malformed``, ``ErrorCode/unknownCriticalExtension`` (skipped).
    public mutating func next() throws(WireError) -> Message? {
        if let fatal { throw fatal }
        var rest = self.buffer
        guard let header = MessageHeader(decoding: &rest) else { return try self.waitForHeader() }
        guard header.version == .one else { throw self.fail(header) }
        // The extensions of a refused payload are read first: the answer names the client message id.
        let isTooLarge = header.payloadLength > self.maximumPayloadLength
        let kept = header.extensionLength + (isTooLarge ? 0 : header.payloadLength)
        guard let content = rest.readSlice(length: kept) else { return self.wait() }
        let skipped = isTooLarge ? min(header.payloadLength, rest.readableBytes) : 0
        rest.moveReaderIndex(forwardBy: skipped)
        self.bytesToSkip = isTooLarge ? header.payloadLength - skipped : 0
        self.take(rest)
        return try self.message(header: header, content: content.compacted(), isTooLarge: isTooLarge)
    }

    private mutating func take(_ rest: ByteBuffer) {
        self.buffer = rest.readableBytes == 0 ? ByteBuffer() : rest
        if self.buffer.readerIndex > 1 << 16 { self.buffer.discardReadBytes() }
    }

    /// More bytes are needed, and may be long in coming.
    private mutating func wait() -> Message? {
        self.buffer = self.buffer.compacted()
        return nil
    }

    /// The version stands in the first byte, so that a stream of another version is refused as soon as it can be.
    private mutating func waitForHeader() throws(WireError) -> Message? {
        guard let first = self.buffer.getInteger(at: self.buffer.readerIndex, as: UInt8.self) else { return nil }
        if first >> 2 != ProtocolVersion.one.rawValue { throw self.fail(nil, version: first >> 2) }
        return self.wait()
    }

    private mutating func fail(_ header: MessageHeader?, version: UInt8? = nil) -> WireError {
        let number = header?.version.rawValue ?? version ?? 0
        let error = WireError(
            .unsupportedVersion, "version \(number) is not supported, only \(ProtocolVersion.one.rawValue)",
            header: header)
        self.fatal = error
        self.buffer = ByteBuffer()
        return error
    }

    /// - Parameter content: the extensions and, unless it is too large, the payload.
    private func message(
        header: MessageHeader, content: ByteBuffer, isTooLarge: Bool
    ) throws(WireError) -> Message {
        var payload = content
        let area = payload.readSlice(length: header.extensionLength) ?? ByteBuffer()
        if payload.readableBytes == 0 { payload = ByteBuffer() }
        var refusal: WireError?
        var extensions = MessageExtensions()
        do throws(WireError) {
            extensions = try MessageExtensions(decoding: area)
            if let unknown = extensions.unknownCritical {
                refusal = WireError(.unknownCriticalExtension, "\(unknown.type) is critical and unknown")
            }
        } catch {
            refusal = error
        }
        if isTooLarge {
            refusal = WireError(
                .payloadTooLarge, "a payload of \(header.payloadLength) bytes; \(self.maximumPayloadLength) are allowed"
            )
        }
        guard var refusal else { return Message(header: header, extensions: extensions, payload: payload) }
        refusal.isSkipped = true
        refusal.header = header
        refusal.clientMessageID = try? extensions.clientMessageID
        throw refusal
    }

    /// To be called at the end of the stream.
    ///
    /// - Throws: ``ErrorCode/malformed`` when it ended inside a message.
    public func finish() throws(WireError) {
        if let fatal { throw fatal }
        guard self.isEmpty else { throw WireError(.malformed, "the stream ended inside a message") }
    }
}
