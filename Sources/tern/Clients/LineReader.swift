// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import NIOPosix

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Reads a file descriptor line by line, byte for byte: empty lines count, and so does a last line without an end.
///
/// It reads only when a line is asked for and none is there, so a slow taker holds the writer up.
struct LineReader {
    private static let chunkSize = 65_536

    private let descriptor: Int32
    private let maximumBytes: Int
    private var buffer = ByteBuffer()
    /// Bytes of `buffer` in which no line end was found.
    private var searched = 0
    private var isAtEnd = false
    /// Lines that were handed out.
    private(set) var count = 0

    /// - Parameter maximumBytes: a longer line is an error, so that no input can grow the buffer without bound.
    init(descriptor: Int32 = STDIN_FILENO, maximumBytes: Int) {
        self.descriptor = descriptor
        self.maximumBytes = maximumBytes
    }

    /// The next line without its end; `nil` when there is no more.
    mutating func next() async throws -> ByteBuffer? {
        while true {
            switch try self.advance() {
            case .line(let line): return line
            case .end: return nil
            case .needsMore: self.append(try await Self.readInBackground(self.descriptor))
            }
        }
    }

    /// How far what was read so far goes.
    private enum Step {
        case line(ByteBuffer)
        case needsMore
        case end
    }

    private mutating func advance() throws(CommandError) -> Step {
        let unsearched = self.buffer.readableBytesView.dropFirst(self.searched)
        if let end = unsearched.firstIndex(of: UInt8(ascii: "\n")) {
            return .line(try self.take(end - self.buffer.readerIndex, skipping: 1))
        }
        self.searched = self.buffer.readableBytes
        if self.isAtEnd { return self.searched == 0 ? .end : .line(try self.take(self.searched, skipping: 0)) }
        guard self.searched <= self.maximumBytes else { throw self.tooLong() }
        return .needsMore
    }

    private mutating func take(_ length: Int, skipping end: Int) throws(CommandError) -> ByteBuffer {
        guard length <= self.maximumBytes else { throw self.tooLong() }
        self.count += 1
        self.searched = 0
        let line = self.buffer.readSlice(length: length) ?? ByteBuffer()
        self.buffer.moveReaderIndex(forwardBy: end)
        return line
    }

    private func tooLong() -> CommandError {
        CommandError(
            .badInput, "line \(self.count + 1) is longer than \(self.maximumBytes) bytes, the most that a message takes"
        )
    }

    private mutating func append(_ chunk: [UInt8]) {
        self.isAtEnd = chunk.isEmpty
        self.buffer.discardReadBytes()
        self.buffer.writeBytes(chunk)
    }

    /// Reads on a thread of its own. A cancelled task does not wait for it: a terminal may never say anything again.
    private static func readInBackground(_ descriptor: Int32) async throws -> [UInt8] {
        let (results, finished) = AsyncStream.makeStream(of: Result<[UInt8], CommandError>.self)
        NIOThreadPool.singleton.submit { _ in
            finished.yield(Result { () throws(CommandError) in try Self.read(descriptor) })
            finished.finish()
        }
        for await result in results { return try result.get() }
        throw CancellationError()
    }

    /// Blocks until something comes; empty at the end.
    private static func read(_ descriptor: Int32) throws(CommandError) -> [UInt8] {
        while true {
            var number: Int32 = 0
            let chunk = unsafe [UInt8](unsafeUninitializedCapacity: Self.chunkSize) { space, count in
                let result = unsafe systemRead(descriptor, space.baseAddress, Self.chunkSize)
                number = result < 0 ? errno : 0
                count = max(result, 0)
            }
            switch number {
            case 0: return chunk
            case EINTR: continue
            case EAGAIN:
                var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                _ = unsafe poll(&wait, 1, -1)
            default: throw CommandError(.inputOutput, "cannot read the input: \(errorText(number))")
            }
        }
    }
}

/// The name `read` is taken inside ``LineReader``.
private func systemRead(_ descriptor: Int32, _ space: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    unsafe read(descriptor, space, count)
}
