// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import NIOPosix
internal import Synchronization
internal import TernTransport

/// Threads for lookups of names, which block for as long as a resolver likes: NIO's own threads are everybody's.
///
/// A name that is asked for while it is looked up takes no second thread, so names that hang take one each. Nobody waits longer
/// than the caller says; what runs on then, because `getaddrinfo` cannot be stopped, is bounded.
final class LookupPool: Sendable {
    struct Key: Hashable, Sendable {
        let host: String
        let family: ConnectionRace.AddressFamily
    }

    private struct State {
        /// Who waits for a lookup that runs or is queued; nobody any more when all gave up.
        var waiters: [Key: [UInt64: EventLoopPromise<[SocketAddress]>]] = [:]
        var waiterCount = 0
        var latestWaiter: UInt64 = 0

        /// - Returns: the waiter, unless there are too many; and whether the lookup must be started.
        mutating func enter(
            _ promise: EventLoopPromise<[SocketAddress]>, for key: LookupPool.Key, lookups: Int
        ) -> (waiter: UInt64?, isNew: Bool) {
            let isNew = self.waiters[key] == nil
            guard self.waiterCount < LookupPool.waiterLimit, !isNew || self.waiters.count < lookups else {
                return (nil, false)
            }
            self.latestWaiter += 1
            self.waiterCount += 1
            self.waiters[key, default: [:]][self.latestWaiter] = promise
            return (self.latestWaiter, isNew)
        }
    }

    private let threads: NIOThreadPool
    private let lookupLimit: Int
    private let lookUp: @Sendable (Key) throws(TransportError) -> [SocketAddress]
    private let state = Mutex(State())

    /// That of the process, with the system's resolver.
    static let shared = LookupPool(threads: 8, lookups: 64) { key throws(TransportError) in
        try SystemAddressResolver.lookUp(key)
    }

    private static let waiterLimit = 4_096

    /// - Parameters:
    ///   - threads: how many lookups run at once.
    ///   - lookups: how many names may be asked for at once; others are refused.
    ///   - lookUp: blocks.
    init(
        threads: Int, lookups: Int,
        _ lookUp: @escaping @Sendable (Key) throws(TransportError) -> [SocketAddress]
    ) {
        self.threads = NIOThreadPool(numberOfThreads: threads)
        self.threads.start()
        self.lookupLimit = lookups
        self.lookUp = lookUp
    }

    /// For tests: ends the threads when their lookups have.
    func shutDown() async throws {
        try await self.threads.shutdownGracefully()
    }

    /// Lookups that run or are queued.
    var lookupCount: Int { self.state.withLock { $0.waiters.count } }

    /// - Returns: addresses with port 0; or ``TransportError/Code/timedOut`` after `timeout`, or
    ///   ``TransportError/Code/limitExceeded`` while too many lookups are under way.
    func addresses(
        of key: Key, within timeout: TimeAmount, on eventLoop: any EventLoop
    ) -> EventLoopFuture<[SocketAddress]> {
        let promise = eventLoop.makePromise(of: [SocketAddress].self)
        let (waiter, isNew) = self.state.withLock { $0.enter(promise, for: key, lookups: self.lookupLimit) }
        guard let waiter else {
            promise.fail(
                TransportError(
                    .limitExceeded,
                    message: "\(key.host) was not looked up: \(self.lookupLimit) lookups are under way, and do not end",
                    isRetrySafe: true))
            return promise.futureResult
        }
        let timer = eventLoop.scheduleTask(in: timeout) { self.giveUp(waiter, key, after: timeout) }
        promise.futureResult.whenComplete { _ in timer.cancel() }
        if isNew { self.start(key) }
        return promise.futureResult
    }

    private func start(_ key: Key) {
        self.threads.submit { _ in
            let answer = Result<[SocketAddress], any Error> { try self.lookUp(key) }
            let waiters = self.state.withLock { state in
                let waiters = state.waiters.removeValue(forKey: key) ?? [:]
                state.waiterCount -= waiters.count
                return waiters
            }
            for promise in waiters.values { promise.completeWith(answer) }
        }
    }

    private func giveUp(_ waiter: UInt64, _ key: Key, after timeout: TimeAmount) {
        let promise = self.state.withLock { state in
            let promise = state.waiters[key]?.removeValue(forKey: waiter)
            if promise != nil { state.waiterCount -= 1 }
            return promise
        }
        promise?.fail(
            TransportError(
                .timedOut, message: "the lookup of \(key.host) did not end within \(timeout.inWords)", isRetrySafe: true
            ))
    }
}
