// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// Names the time since the machine started: Linux gives a random identifier at every boot.
enum BootIdentifier {
    /// Where there is none, a fresh value each time: nothing then proves that the machine ran on.
    static let current: String = {
        let descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "\(UInt64.random(in: .min ... .max))" }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 36)
        let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }()
}
