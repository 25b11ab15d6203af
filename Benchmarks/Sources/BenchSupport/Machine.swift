// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Where and with what something was measured.
package struct Machine: Codable, Sendable {
    package var cores: Int
    package var processor: String
    package var kernel: String
    package var system: String
    package var memoryMiB: Int
    /// The file system that the store is on, and how long writing 4 KiB and flushing them takes there: the median of 100.
    package var fileSystem: String
    package var flushMicroseconds: Double
    package var versions: [String: String]
    package var revision: String
    /// Whether files differ from the revision.
    package var hasChanges: Bool

    /// - Parameter scratch: a directory on the disk that the store will be on.
    package init(scratch: String) {
        func said(_ program: String, _ arguments: String...) -> String {
            ChildProcess.firstLine(of: program, arguments, scratch: scratch) ?? "unknown"
        }
        self.cores = ProcessInfo.processInfo.activeProcessorCount
        self.processor = Self.field("model name", of: "/proc/cpuinfo") ?? said("uname", "-m")
        self.kernel = said("uname", "-sr")
        self.system = (Self.field("PRETTY_NAME", of: "/etc/os-release", separator: "=") ?? "unknown")
            .replacing("\"", with: "")
        self.memoryMiB = Int(ProcessInfo.processInfo.physicalMemory >> 20)
        self.fileSystem = said("stat", "--file-system", "--format=%T", scratch)
        self.flushMicroseconds = Self.flushMicroseconds(in: scratch)
        self.versions = [
            "ngtcp2": said("pkg-config", "--modversion", "libngtcp2"),
            "GnuTLS": said("pkg-config", "--modversion", "gnutls"),
            "SQLite": said("pkg-config", "--modversion", "sqlite3"),
            "Swift": said("swift", "--version").replacing("Swift version ", with: ""),
            "gtlsserver": said("dpkg-query", "-W", "-f", "${Version}\n", "ngtcp2-server"),
            "gtlsclient": said("dpkg-query", "-W", "-f", "${Version}\n", "ngtcp2-client"),
        ]
        let repository = URL(filePath: #filePath).deletingLastPathComponent().path
        self.revision = said("git", "-C", repository, "rev-parse", "HEAD")
        self.hasChanges =
            ChildProcess.firstLine(of: "git", ["-C", repository, "status", "--porcelain"], scratch: scratch) != nil
    }

    /// How many programs want a processor, on average over the last minute; 0 where that is unknown.
    package static var load: Double {
        var averages = [Double](repeating: 0, count: 1)
        return getloadavg(&averages, 1) == 1 ? averages[0] : 0
    }

    private static func field(_ name: String, of file: String, separator: Character = ":") -> String? {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix(name) {
            guard let mark = line.firstIndex(of: separator) else { continue }
            return line[line.index(after: mark)...].trimmingCharacters(in: .whitespaces)
        }
        return nil
    }

    private static func flushMicroseconds(in directory: String) -> Double {
        let path = "\(directory)/flush"
        let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
        guard descriptor >= 0 else { return 0 }
        defer {
            close(descriptor)
            unlink(path)
        }
        let page = [UInt8](repeating: 0x61, count: 4096)
        var latencies = Latencies(capacity: 100)
        for _ in 0..<100 {
            let start = ContinuousClock.now
            guard write(descriptor, page, page.count) == page.count, fsync(descriptor) == 0 else { return 0 }
            latencies.append(ContinuousClock.now - start)
        }
        return latencies.microseconds(at: 0.5)
    }
}
