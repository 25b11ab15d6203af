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

    /// Waits for a server that does not say when it listens: its port is looked at again and again, since there is nothing
    /// that would tell.
    ///
    /// - Parameter isTaken: ``isTaken(_:_:)`` where the server is.
    package static func untilTaken(by program: String, _ isTaken: () throws -> Bool) throws {
        let deadline = ContinuousClock.now + .seconds(10)
        while try !isTaken() {
            guard ContinuousClock.now < deadline else { throw BenchmarkError("\(program) does not listen") }
            usleep(2_000)
        }
    }

    /// Whether somebody listens at a port, whatever the address, in the network namespace of the calling thread.
    package static func isTaken(_ port: Int, _ kind: Kind) throws -> Bool {
        #if os(Linux)
        // Who tried to bind the port instead could be in the way of the server.
        return ["", "6"].contains { version in
            let file = "/proc/thread-self/net/\(kind)\(version)"
            let sockets = (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
            return sockets.split(separator: "\n").contains { Self.isListening($0, at: port, kind) }
        }
        #else
        return try self.withSocket(kind, boundTo: UInt16(port)) { $0 == nil }
        #endif
    }

    #if os(Linux)
    /// - Parameter socket: its number, its address and port, the peer's, its state, and more; in hexadecimal.
    private static func isListening(_ socket: Substring, at port: Int, _ kind: Kind) -> Bool {
        let fields = socket.split(separator: " ", maxSplits: 4)
        guard fields.count > 4, let own = fields[1].split(separator: ":").last else { return false }
        return Int(own, radix: 16) == port && (kind == .udp || fields[3] == "0A")
    }
    #endif

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
