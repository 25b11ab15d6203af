// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// For servers that take no port 0: the kernel is asked for a port, which is free again when the server binds it.
package enum FreePort {
    package enum Kind {
        case udp
        case tcp

        #if canImport(Glibc)
        fileprivate var socketType: Int32 {
            // A program that is started meanwhile must not keep the port.
            Int32(self == .udp ? SOCK_DGRAM.rawValue : SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        }
        #else
        fileprivate var socketType: Int32 { self == .udp ? SOCK_DGRAM : SOCK_STREAM }
        #endif
    }

    package static func find(_ kind: Kind) throws -> Int {
        try Self.withSocket(kind, boundTo: 0) { descriptor in
            guard let descriptor else { throw BenchmarkError("no port is free") }
            var address = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
            }
            return Int(UInt16(bigEndian: address.sin_port))
        }
    }

    package static func isFree(_ port: Int, _ kind: Kind) throws -> Bool {
        try Self.withSocket(kind, boundTo: UInt16(port)) { $0 != nil }
    }

    package static func untilTaken(_ port: Int, by program: String, _ isFree: (Int) throws -> Bool) throws {
        let deadline = ContinuousClock.now + .seconds(10)
        while try isFree(port) {
            guard ContinuousClock.now < deadline else { throw BenchmarkError("\(program) does not listen") }
            usleep(2_000)
        }
    }

    private static func withSocket<Result>(
        _ kind: Kind, boundTo port: UInt16, _ body: (Int32?) throws -> Result
    ) throws -> Result {
        let descriptor = socket(AF_INET, kind.socketType, 0)
        guard descriptor >= 0 else { throw BenchmarkError("socket: error \(errno)") }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        return try body(result == 0 ? descriptor : nil)
    }
}
