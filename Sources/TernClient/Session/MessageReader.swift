// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernMessages
internal import TernTransport

/// Cuts the bytes of one stream into messages. Used by one task.
struct MessageReader {
    private let stream: Stream
    private var decoder = MessageDecoder()

    /// - Parameter first: what was read from the stream already.
    init(_ stream: Stream, first: ByteBuffer = ByteBuffer()) {
        self.stream = stream
        self.decoder.append(first)
    }

    /// The next message; `nil` at the end of the stream.
    mutating func next() async throws -> Message? {
        while true {
            do throws(WireError) {
                if let message = try self.decoder.next() { return message }
            } catch {
                // Something newer than we know: it was skipped, unless the stream can't be read any further.
                if error.isSkipped { continue }
                throw ClientError(.protocolViolation, message: error.message, cause: error)
            }
            guard let bytes = try await self.stream.read() else {
                guard self.decoder.isEmpty else {
                    throw ClientError(.protocolViolation, message: "a stream ended inside a message")
                }
                return nil
            }
            self.decoder.append(bytes)
        }
    }
}

extension Stream {
    /// Reads the kind with which a peer's stream begins.
    ///
    /// - Returns: the kind and the bytes behind it; `nil` when the stream ended before.
    func readKind() async throws -> (StreamKind, rest: ByteBuffer)? {
        var buffer = ByteBuffer()
        while var bytes = try await self.read() {
            buffer.writeBuffer(&bytes)
            if let kind = StreamKind(decoding: &buffer) { return (kind, buffer) }
        }
        return nil
    }
}
