// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// Settings of the kernel, in the namespace of the thread that asks.
enum KernelSetting {
    static func prepareNamespace() throws {
        // A round must not profit from what the kernel learned of the path in the one before.
        try self.set("net/ipv4/tcp_no_metrics_save", "1")
        // Replies may leave through another device than the one that a packet came by.
        try self.set("net/ipv4/conf/all/rp_filter", "0")
        try self.set("net/ipv4/conf/default/rp_filter", "0")
        // No addresses and no packets of the kernel's own. Kernels without IPv6 lack these.
        for (name, value) in [
            ("addr_gen_mode", "1"), ("accept_ra", "0"), ("router_solicitations", "0"), ("accept_dad", "0"),
            ("autoconf", "0"),
        ] {
            try? self.set("net/ipv6/conf/default/\(name)", value)
        }
    }

    static let hasIPv6 = access("/proc/sys/net/ipv6", F_OK) == 0

    static func set(_ path: String, _ value: String) throws {
        let file = open("/proc/sys/\(path)", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else {
            throw BenchmarkError("/proc/sys/\(path): \(String(cString: strerror(errno)))")
        }
        defer { close(file) }
        let count = value.utf8.count
        guard write(file, value, count) == count else {
            throw BenchmarkError("/proc/sys/\(path): \(String(cString: strerror(errno)))")
        }
    }

    static func value(of path: String) -> String? {
        (try? String(contentsOfFile: "/proc/sys/\(path)", encoding: .utf8))?
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
