// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernMessages
internal import TernTransport

/// Reads a stream message by message.
struct MessageReader {
    private let stream: TernTransport.Stream
    private var decoder: MessageDecoder
    private var isAtEnd = false
    /// Called for everything that comes.
    var heard: @Sendable () -> Void

    init(
        stream: TernTransport.Stream, first: ByteBuffer, maximumPayloadLength: Int,
        heard: @escaping @Sendable () -> Void = {}
    ) {
        self.stream = stream
        self.heard = heard
        self.decoder = MessageDecoder(maximumPayloadLength: maximumPayloadLength)
        self.decoder.append(first)
    }

    /// The next message; `nil` at the end of the stream, however it came.
    ///
    /// - Throws: as ``MessageDecoder/next()``.
    mutating func next() async throws(WireError) -> Message? {
        while true {
            if let message = try self.decoder.next() { return message }
            if self.isAtEnd { return nil }
            guard let bytes = await self.read() else { continue }
            self.decoder.append(bytes)
        }
    }

    /// More bytes, or `nil` at the end.
    private mutating func read() async -> ByteBuffer? {
        do {
            if let bytes = try await self.stream.read() {
                self.heard()
                return bytes
            }
        } catch {
            // A stream that the client reset, or a connection that is over: what came in part is worth nothing.
            self.decoder = MessageDecoder()
        }
        self.isAtEnd = true
        return nil
    }

    /// To be called after the end.
    ///
    /// - Throws: ``ErrorCode/malformed`` when the stream ended inside a message.
    func finish() throws(WireError) {
        try self.decoder.finish()
    }
}
