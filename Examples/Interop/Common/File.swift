// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
package import NIOCore
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// An open regular file, for one task at a time.
///
/// It is read and written in place: with files in the page cache that is a copy of memory.
package final class File: Sendable {
    /// How much is read from a file, and waits to be sent, at a time.
    package static let chunk = 64 << 10

    /// In bytes, when it was opened.
    package let size: Int
    private let descriptor: CInt
    private let progress = Mutex(0)

    private init(descriptor: CInt, size: Int) {
        self.descriptor = descriptor
        self.size = size
    }

    deinit { close(self.descriptor) }

    /// Opens a file for reading.
    package convenience init(reading path: String) throws {
        // A FIFO would make `open` wait for somebody who writes.
        let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "open \(path)") }
        var status = stat()
        let isKnown = fstat(descriptor, &status) == 0
        self.init(descriptor: descriptor, size: Int(status.st_size))
        guard isKnown, status.st_mode & S_IFMT == S_IFREG else {
            throw IOError(errnoCode: EINVAL, reason: "\(path) is no regular file")
        }
    }

    /// Makes a file that must not be there yet.
    package convenience init(creating path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "create \(path)") }
        self.init(descriptor: descriptor, size: 0)
    }

    /// The next bytes; none at the end of the file.
    package func read() throws -> ByteBuffer {
        var buffer = ByteBuffer()
        try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.chunk) { target in
            try self.retrying("read") { POSIX.read(self.descriptor, target.baseAddress, Self.chunk) }
        }
        self.progress.withLock { $0 += buffer.readableBytes }
        return buffer
    }

    /// How many bytes were read so far.
    package var bytesRead: Int { self.progress.withLock { $0 } }

    package func write(_ bytes: ByteBuffer) throws {
        var rest = bytes
        while rest.readableBytes > 0 {
            let count = try rest.withUnsafeReadableBytes { source in
                try self.retrying("write") { POSIX.write(self.descriptor, source.baseAddress, source.count) }
            }
            rest.moveReaderIndex(forwardBy: count)
        }
    }

    private func retrying(_ call: String, _ body: () -> Int) throws -> Int {
        while true {
            let result = body()
            if result >= 0 { return result }
            guard errno == EINTR else { throw IOError(errnoCode: errno, reason: call) }
        }
    }
}

/// The system's calls whose names methods here have too.
private enum POSIX {
    static func read(_ descriptor: CInt, _ target: UnsafeMutableRawPointer?, _ count: Int) -> Int {
        #if canImport(Glibc)
        Glibc.read(descriptor, target, count)
        #elseif canImport(Musl)
        Musl.read(descriptor, target, count)
        #elseif canImport(Darwin)
        Darwin.read(descriptor, target, count)
        #endif
    }

    static func write(_ descriptor: CInt, _ source: UnsafeRawPointer?, _ count: Int) -> Int {
        #if canImport(Glibc)
        Glibc.write(descriptor, source, count)
        #elseif canImport(Musl)
        Musl.write(descriptor, source, count)
        #elseif canImport(Darwin)
        Darwin.write(descriptor, source, count)
        #endif
    }
}

/// A folder that nothing outside of it is served from, or stored to.
package struct Folder: Sendable {
    /// Absolute and without symbolic links.
    private let path: String

    package init(_ path: String) throws {
        guard let resolved = Self.resolve(path) else { throw IOError(errnoCode: errno, reason: "the folder \(path)") }
        self.path = resolved == "/" ? "" : resolved
    }

    /// Opens what a request names: `nil` when there is no such file, or when it lies outside, also by way of `..` or of a
    /// symbolic link.
    ///
    /// - Parameter request: such as `/images/tern.jpg`.
    package func open(_ request: String) -> File? {
        guard let relative = Self.relative(request), let resolved = Self.resolve("\(self.path)/\(relative)"),
            resolved.hasPrefix("\(self.path)/")
        else { return nil }
        return try? File(reading: resolved)
    }

    /// Where a request's answer is stored, and under which name until it is complete. Makes the folders above it.
    package func destination(of request: String) throws -> (temporary: String, final: String) {
        guard let relative = Self.relative(request) else {
            throw IOError(errnoCode: EINVAL, reason: "\(request) is no file of a folder")
        }
        let final = URL(filePath: "\(self.path)/\(relative)")
        let folder = final.deletingLastPathComponent()
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        // Not made of the name, which may be as long as names can be.
        let temporary = folder.appending(path: ".part-\(UUID().uuidString)")
        return (temporary.path, final.path)
    }

    /// - Returns: `nil` for names that climb out of the folder, or name none.
    private static func relative(_ request: String) -> String? {
        let components = request.split(separator: "/", omittingEmptySubsequences: true)
        guard !components.isEmpty, !request.hasSuffix("/"), !request.utf8.contains(0),
            !components.contains(where: { $0 == ".." || $0 == "." })
        else { return nil }
        return components.joined(separator: "/")
    }

    private static func resolve(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}
