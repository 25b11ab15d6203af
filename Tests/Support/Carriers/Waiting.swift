// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import Logging
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOPosix
internal import Testing

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

package let testLogger = Logger(label: "tests", factory: { _ in SwiftLogNoOpLogHandler() })
package let testProtocol = "tern-test/1"

/// Asks again, without holding a thread, until `condition` holds or a minute has passed.
package func eventually(_ condition: () async throws -> Bool) async throws -> Bool {
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let deadline = NIODeadline.now() + .seconds(60)
    while NIODeadline.now() < deadline {
        if try await condition() { return true }
        try await eventLoop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
    }
    return false
}

/// A variable that several threads see.
package final class NIOLockedBox<Value: Sendable>: Sendable {
    private let box: NIOLockedValueBox<Value>

    package init(_ value: Value) {
        self.box = NIOLockedValueBox(value)
    }

    package var value: Value {
        get { self.box.withLockedValue { $0 } }
        set { self.box.withLockedValue { $0 = newValue } }
    }

    package func update(_ body: (inout Value) -> Void) {
        self.box.withLockedValue { body(&$0) }
    }
}

/// The sockets of this process that are bound to `port`, or connected to it. Other suites, which run at the same time, have
/// others.
package func openSockets(at port: Int) throws -> Int {
    #if os(Linux)
    let path = "/proc/self/fd"
    #else
    let path = "/dev/fd"
    #endif
    let folder = try #require(opendir(path))
    defer { closedir(folder) }
    var count = 0
    while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard let descriptor = CInt(name) else { continue }
        if portOf(descriptor, getsockname) == port || portOf(descriptor, getpeername) == port { count += 1 }
    }
    return count
}

/// `nil` when it is no socket, or has no such address.
private func portOf(
    _ descriptor: CInt, _ ask: (CInt, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> CInt
) -> Int? {
    var address = sockaddr_in6()
    var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
    let status = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { ask(descriptor, $0, &length) }
    }
    guard status == 0, [AF_INET, AF_INET6].contains(Int32(address.sin6_family)) else { return nil }
    // At the same place in both families.
    return Int(UInt16(bigEndian: address.sin6_port))
}
