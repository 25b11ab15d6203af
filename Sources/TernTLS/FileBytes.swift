// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Whole small files.
enum FileBytes {
    /// Certificates and keys are small; more than this is a mistake.
    private static let largest = 4 << 20

    static func read(_ path: String) throws(TLSError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.failure(path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = block.withUnsafeMutableBytes {
                #if canImport(Glibc)
                Glibc.read(descriptor, $0.baseAddress, $0.count)
                #elseif canImport(Musl)
                Musl.read(descriptor, $0.baseAddress, $0.count)
                #else
                Darwin.read(descriptor, $0.baseAddress, $0.count)
                #endif
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Self.failure(path) }
            if count == 0 { return bytes }
            bytes += block.prefix(count)
            guard bytes.count <= Self.largest else {
                throw TLSError(.malformed, message: "\(path) is too large to be a certificate or a key")
            }
        }
    }

    private static func failure(_ path: String) -> TLSError {
        TLSError(.unreadableFile, message: "cannot read \(path): \(String(cString: strerror(errno)))")
    }
}
