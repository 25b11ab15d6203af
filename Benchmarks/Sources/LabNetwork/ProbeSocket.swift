// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import CTernLab
internal import Foundation

/// A socket with which the network itself is tried out. Opened by a thread of the end that it belongs to. Closed when
/// dropped.
struct ProbeSocket: ~Copyable {
    enum Kind {
        case udp
        case tcp
    }

    let descriptor: Int32

    /// Owns a descriptor of ``open(_:at:)`` from here on.
    init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(self.descriptor)
    }

    /// - Parameter address: the address of this end, IPv4 or IPv6; the kernel chooses the port.
    static func open(_ kind: Kind, at address: String) throws -> Int32 {
        let isIPv6 = address.contains(":")
        #if canImport(Glibc)
        let type = Int32(kind == .udp ? SOCK_DGRAM.rawValue : SOCK_STREAM.rawValue)
        #else
        let type = kind == .udp ? SOCK_DGRAM : SOCK_STREAM
        #endif
        let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, type, 0)
        guard descriptor >= 0 else { throw self.failure("socket") }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        guard try self.withAddress(address, port: 0, { bind(descriptor, $0, $1) }) == 0 else {
            close(descriptor)
            throw self.failure("bind to \(address)")
        }
        return descriptor
    }

    func port() throws -> UInt16 {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(self.descriptor, $0, &length) }
        }
        guard result == 0 else { throw Self.failure("getsockname") }
        // The port is at the same place in both kinds of address.
        return withUnsafeBytes(of: &storage) { UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self)) }
    }

    /// Of TCP, before it is connected: a short queue in the network, and no timeouts because it grew faster than
    /// expected.
    func limitWindow(to bytes: Int32) {
        var bytes = bytes
        setsockopt(self.descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout.size(ofValue: bytes)))
    }

    /// For TCP, this begins the handshake and does not wait for its end.
    func connect(to address: String, port: UInt16) throws {
        _ = fcntl(self.descriptor, F_SETFL, fcntl(self.descriptor, F_GETFL) | O_NONBLOCK)
        let result = try Self.withAddress(address, port: port) { Foundation.connect(self.descriptor, $0, $1) }
        guard result == 0 || errno == EINPROGRESS else { throw Self.failure("connect to \(address)") }
    }

    func listen() throws {
        guard Foundation.listen(self.descriptor, 16) == 0 else { throw Self.failure("listen") }
    }

    func accept(before deadline: UInt64) throws -> ProbeSocket {
        try self.wait(for: POLLIN, before: deadline)
        let accepted = Foundation.accept(self.descriptor, nil, nil)
        guard accepted >= 0 else { throw Self.failure("accept") }
        _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
        return ProbeSocket(accepted)
    }

    /// - Returns: how many bytes were taken, `nil` when there was no room.
    func send(_ bytes: UnsafeRawBufferPointer) throws -> Int? {
        let count = write(self.descriptor, bytes.baseAddress, bytes.count)
        guard count < 0 else { return count }
        guard errno == EAGAIN || errno == EINTR else { throw Self.failure("send") }
        return nil
    }

    /// - Returns: how many bytes came.
    func receive(into space: UnsafeMutableRawBufferPointer, before deadline: UInt64) throws -> Int {
        try self.wait(for: POLLIN, before: deadline)
        let count = read(self.descriptor, space.baseAddress, space.count)
        guard count >= 0 else { throw Self.failure("receive") }
        return count
    }

    /// - Parameter deadline: in nanoseconds of the carrier's clock.
    func wait(for what: Int32, before deadline: UInt64) throws {
        while true {
            let now = Carrier.now
            guard now < deadline else { throw BenchmarkError("the emulated network gives no answer in time") }
            var descriptor = pollfd(fd: self.descriptor, events: Int16(what), revents: 0)
            if poll(&descriptor, 1, Int32(clamping: (deadline - now) / 1_000_000 + 1)) > 0 { return }
        }
    }

    private static func withAddress<Value>(
        _ address: String, port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
    ) throws -> Value {
        func call<Raw>(with raw: Raw) -> Value {
            withUnsafePointer(to: raw) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body($0, socklen_t(MemoryLayout<Raw>.size))
                }
            }
        }
        if address.contains(":") {
            var raw = sockaddr_in6()
            raw.sin6_family = sa_family_t(AF_INET6)
            raw.sin6_port = port.bigEndian
            guard inet_pton(AF_INET6, address, &raw.sin6_addr) == 1 else { throw self.failure("address \(address)") }
            return call(with: raw)
        }
        var raw = sockaddr_in()
        raw.sin_family = sa_family_t(AF_INET)
        raw.sin_port = port.bigEndian
        guard inet_pton(AF_INET, address, &raw.sin_addr) == 1 else { throw self.failure("address \(address)") }
        return call(with: raw)
    }

    private static func failure(_ what: String) -> BenchmarkError {
        BenchmarkError("\(what): \(String(cString: strerror(errno)))")
    }
}
