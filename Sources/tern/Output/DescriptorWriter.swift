// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOPosix
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Writes to file descriptors in the order of the calls, on a thread of its own: whoever reads them may be slow, or never read
/// again, and that must hold up nobody but who writes.
final class DescriptorWriter: Sendable {
    private struct State {
        var waiters: [Int: CheckedContinuation<Result<Void, CommandError>, Never>] = [:]
        var nextWaiter = 0
        /// Bytes of ``post(_:to:)`` that are not written yet.
        var postedBytes = 0
        var isGivenUp = false
    }

    /// More than this is never posted at once: see ``post(_:to:)``.
    private static let mostPostedBytes = 1 << 20

    private let state = Mutex(State())
    private let thread = NIOThreadPool(numberOfThreads: 1)

    init() {
        self.thread.start()
    }

    deinit {
        self.thread.shutdownGracefully { _ in }
    }

    /// Returns when the system has all bytes. Only their reader ends that, or ``giveUp()``: what a cancelled task has to say is said.
    ///
    /// - Throws: when the system does not take them; ``CommandError/Code/inputOutput``.
    func write(_ bytes: [UInt8], to descriptor: Int32) async throws(CommandError) {
        let result: Result<Void, CommandError> = await withCheckedContinuation { continuation in
            let isGivenUp = self.state.withLock { state in
                guard !state.isGivenUp else { return true }
                state.nextWaiter += 1
                let waiter = state.nextWaiter
                state.waiters[waiter] = continuation
                // Under the lock: in the order of the calls.
                self.thread.submit { _ in
                    let result = Result { () throws(CommandError) in try Self.writeAll(bytes, to: descriptor) }
                    self.state.withLock { $0.waiters.removeValue(forKey: waiter) }?.resume(returning: result)
                }
                return false
            }
            if isGivenUp { continuation.resume(returning: .success(())) }
        }
        try result.get()
    }

    /// Writes later, and tells nobody how it went. What would come behind a mebibyte that waits already is dropped.
    func post(_ bytes: [UInt8], to descriptor: Int32) {
        self.state.withLock { state in
            guard !state.isGivenUp, state.postedBytes + bytes.count <= Self.mostPostedBytes else { return }
            state.postedBytes += bytes.count
            self.thread.submit { _ in
                try? Self.writeAll(bytes, to: descriptor)
                self.state.withLock { $0.postedBytes -= bytes.count }
            }
        }
    }

    /// Returns when everything before is written, or nobody waits for it any more.
    func flush() async {
        try? await self.write([], to: -1)
    }

    /// From now on nobody waits for a reader, and what is written is dropped; a write that is under way may end in the middle of its
    /// line.
    func giveUp() {
        let waiters = self.state.withLock { state in
            state.isGivenUp = true
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume(returning: .success(())) }
    }

    /// Blocks until all is written.
    private static func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws(CommandError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { unsafe systemWrite(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno == EAGAIN {
                // Somebody else made the shared descriptor non-blocking: wait until it takes more.
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = unsafe poll(&wait, 1, -1)
            } else if errno != EINTR {
                throw CommandError(.inputOutput, "cannot write the output: \(errorText(errno))")
            }
        }
    }
}

/// The name `write` is taken inside ``DescriptorWriter``.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    unsafe write(descriptor, bytes, count)
}
