// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if os(Linux)
internal import Foundation
package import NIOCore
package import NIOPosix
internal import Testing

/// A network of its own for the sockets of one event loop: devices and addresses in it are nobody else's.
///
/// The namespace belongs to the loop's thread, so it is gone when the thread and its sockets are.
package struct NetworkNamespace: Sendable {
    package let group: MultiThreadedEventLoopGroup
    /// The thread that the namespace belongs to, for `ip link set … netns`.
    package let thread: Int32

    private init(group: MultiThreadedEventLoopGroup, thread: Int32) {
        self.group = group
        self.thread = thread
    }

    /// Runs `body` in a new namespace whose loopback device is up.
    ///
    /// Without the right to make one the test is skipped, and said to be; it fails where CI is `true`.
    package static func with(_ body: (NetworkNamespace) async throws -> Void) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let thread = try await group.next().submit { Self.enter() }.get()
        guard let thread else {
            try await group.shutdownGracefully()
            let message = "no right to make a network namespace: run as root"
            if ProcessInfo.processInfo.environment["CI"] == "true" { Issue.record("\(message)") }
            return print("skipped: \(message)")
        }
        let namespace = NetworkNamespace(group: group, thread: thread)
        do {
            try await namespace.ip("link set lo up")
            try await body(namespace)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    package var eventLoop: any EventLoop { self.group.next() }

    /// Runs `ip` with these words in the namespace.
    package func ip(_ words: String) async throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            ["nsenter", "--net=/proc/\(getpid())/task/\(self.thread)/ns/net", "ip"]
            + words.split(separator: " ").map(String.init)
        let status = try await withCheckedThrowingContinuation { continuation in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        #expect(status == 0, "ip \(words)")
    }

    /// Gives the calling thread a namespace; returns its number, or `nil` if that is not allowed.
    private static func enter() -> Int32? {
        // Glibc declares both for _GNU_SOURCE only.
        typealias Unshare = @convention(c) (CInt) -> CInt
        typealias ThreadID = @convention(c) () -> pid_t
        guard let unshare = dlsym(nil, "unshare"), let threadID = dlsym(nil, "gettid") else { return nil }
        let newNetwork: CInt = 0x4000_0000
        guard unsafeBitCast(unshare, to: Unshare.self)(newNetwork) == 0 else { return nil }
        return unsafeBitCast(threadID, to: ThreadID.self)()
    }
}
#endif
