// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// The `-wal` and `-shm` files as a process left them, looked at before SQLite opens the database: SQLite takes a log that is
/// missing, or ends early, for one in which nothing more was committed.
///
/// While a store is open its log is never emptied (``LogWriter`` only starts it anew), and when it is closed it says so in the
/// database. So after a run that was not closed there must be a log with at least one commit; and as many as the index in the
/// `-shm` file counts, which is written after each commit. The formats: https://sqlite.org/fileformat2.html#walformat and
/// https://sqlite.org/walformat.html.
struct WriteAheadLog {
    /// What tells one filling of the file from the next.
    typealias Salt = [UInt8]

    struct File: Equatable {
        var salt: Salt
        /// Up to the last commit that can be read.
        var committedFrames: UInt32
    }

    struct Index: Equatable {
        var salt: Salt
        var committedFrames: UInt32
    }

    enum Remains: Equatable {
        case missing
        case unreadable
        case file(File)
    }

    /// Whether the database is of the kind that has such a log.
    var isExpected: Bool
    var remains: Remains
    /// `nil` when there is none that can be used.
    var index: Index?

    /// What the log lacks; `nil` when nothing speaks against it.
    ///
    /// - Parameter sameBoot: whether the machine has run on since: then both files are as they were written, otherwise the index
    ///   may be from long before.
    func loss(sameBoot: Bool) -> String? {
        guard self.isExpected else { return nil }
        switch self.remains {
        case .missing:
            return "its write-ahead log is missing"
        case .unreadable:
            return "its write-ahead log cannot be read"
        case .file(let file):
            if let index, index.salt == file.salt {
                guard file.committedFrames < index.committedFrames else { return nil }
                return "its write-ahead log ends after \(file.committedFrames) of \(index.committedFrames) pages"
            }
            if let index, sameBoot, index.committedFrames > 0 { return "its write-ahead log is another one" }
            return file.committedFrames == 0 ? "its write-ahead log has no commit that can be read" : nil
        }
    }

    /// - Parameter database: the path of a file that exists and that nobody has open: closing a file gives up all locks that the
    ///   process has on it.
    init(of database: String) {
        let header = Self.read(database, at: 0, count: 20)
        // The version that a reader must know: 2 stands for a write-ahead log.
        self.isExpected = header.map { $0.count == 20 && $0[19] == 2 } ?? false
        self.index = Self.readIndex(database + "-shm")
        self.remains = Self.readLog(database + "-wal")
    }

    init(isExpected: Bool, remains: Remains, index: Index?) {
        self.isExpected = isExpected
        self.remains = remains
        self.index = index
    }

    // MARK: The log

    private static let headerSize = 32
    private static let frameHeaderSize = 24

    private static func readLog(_ path: String) -> Remains {
        let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return errno == ENOENT ? .missing : .unreadable }
        defer { close(descriptor) }
        guard let header = Self.read(descriptor, at: 0, count: Self.headerSize), header.count == Self.headerSize,
            header.word(at: 0) & ~1 == 0x377f_0682, header.word(at: 4) == 3_007_000
        else { return .unreadable }
        var sum = Checksum(isBigEndian: header.word(at: 0) & 1 == 1)
        sum.add(header[..<24])
        let pageSize = Int(header.word(at: 8))
        guard sum.equals(header, at: 24), (512...65_536).contains(pageSize) else { return .unreadable }
        var file = File(salt: Array(header[16..<24]), committedFrames: 0)
        var offset = Self.headerSize
        var number: UInt32 = 0
        while let frame = Self.read(descriptor, at: offset, count: Self.frameHeaderSize + pageSize),
            frame.count == Self.frameHeaderSize + pageSize, Array(frame[8..<16]) == file.salt
        {
            sum.add(frame[..<8])
            sum.add(frame[Self.frameHeaderSize...])
            guard sum.equals(frame, at: 16) else { break }
            number += 1
            if frame.word(at: 4) != 0 { file.committedFrames = number }
            offset += frame.count
        }
        return .file(file)
    }

    private struct Checksum {
        var isBigEndian: Bool
        var low: UInt32 = 0
        var high: UInt32 = 0

        /// - Parameter bytes: a multiple of eight.
        mutating func add(_ bytes: ArraySlice<UInt8>) {
            let isBigEndian = self.isBigEndian
            var (low, high) = (self.low, self.high)
            bytes.withUnsafeBytes { raw in
                for offset in stride(from: 0, to: raw.count - 7, by: 8) {
                    let first = raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
                    let second = raw.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
                    low &+= (isBigEndian ? UInt32(bigEndian: first) : UInt32(littleEndian: first)) &+ high
                    high &+= (isBigEndian ? UInt32(bigEndian: second) : UInt32(littleEndian: second)) &+ low
                }
            }
            (self.low, self.high) = (low, high)
        }

        func equals(_ bytes: [UInt8], at offset: Int) -> Bool {
            bytes.word(at: offset) == self.low && bytes.word(at: offset + 4) == self.high
        }
    }

    // MARK: The index

    private static let indexHeaderSize = 48

    /// Its header stands there twice, in the byte order of the machine; it is only believed when both are the same.
    private static func readIndex(_ path: String) -> Index? {
        guard let bytes = Self.read(path, at: 0, count: 2 * Self.indexHeaderSize),
            bytes.count == 2 * Self.indexHeaderSize, bytes[..<Self.indexHeaderSize] == bytes[Self.indexHeaderSize...],
            bytes.nativeWord(at: 0) == 3_007_000, bytes[12] != 0
        else { return nil }
        var sum = Checksum(isBigEndian: 1.bigEndian == 1)
        sum.add(bytes[..<40])
        guard bytes.nativeWord(at: 40) == sum.low, bytes.nativeWord(at: 44) == sum.high else { return nil }
        return Index(salt: Array(bytes[32..<40]), committedFrames: bytes.nativeWord(at: 16))
    }

    // MARK: Bytes

    private static func read(_ path: String, at offset: Int, count: Int) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return Self.read(descriptor, at: offset, count: count)
    }

    /// Fewer bytes at the end of the file; `nil` on an error.
    private static func read(_ descriptor: Int32, at offset: Int, count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        let found = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, count, off_t(offset)) }
        return found < 0 ? nil : Array(bytes.prefix(found))
    }
}

extension [UInt8] {
    fileprivate func word(at offset: Int) -> UInt32 {
        self[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    fileprivate func nativeWord(at offset: Int) -> UInt32 {
        self[offset..<offset + 4].withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
    }
}
