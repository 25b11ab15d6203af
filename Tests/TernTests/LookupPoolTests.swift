// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Dispatch
import NIOCore
import NIOPosix
import Synchronization
import TernTransport
import TestTimeLimits
import Testing

@testable import Tern

@Suite("Lookups of names", .untilItHangs)
struct LookupPoolTests {
    private let loop = MultiThreadedEventLoopGroup.singleton.next()

    @Test func lookupsThatHangAreBoundedAndEndForTheirCallers() async throws {
        let resolver = HangingResolver()
        let pool = LookupPool(threads: 2, lookups: 3) { key throws(TransportError) in try resolver.lookUp(key) }
        // Longer than the test, for those that must not end by themselves.
        let waiting = (0..<3).map { number in
            pool.addresses(of: .init(host: "hangs-\(number)", family: .v4), within: .hours(1), on: self.loop)
        }
        let refused = await #expect(throws: TransportError.self) {
            _ = try await pool.addresses(of: .init(host: "other", family: .v4), within: .hours(1), on: self.loop).get()
        }
        #expect(refused?.code == .limitExceeded)
        #expect(refused?.message.contains("3 lookups are under way") == true)
        // The same name waits for the lookup that is under way.
        let late = await #expect(throws: TransportError.self) {
            let key = LookupPool.Key(host: "hangs-0", family: .v4)
            _ = try await pool.addresses(of: key, within: .milliseconds(20), on: self.loop).get()
        }
        #expect(late?.code == .timedOut)
        #expect(late?.message == "the lookup of hangs-0 did not end within 20 ms")
        #expect(pool.lookupCount == 3)
        // NIO's threads are not theirs.
        #expect(try await NIOThreadPool.singleton.runIfActive(eventLoop: self.loop) { 7 }.get() == 7)
        resolver.release(3)
        for answer in waiting { #expect(try await answer.get().map(\.hostAndPort) == ["192.0.2.1:0"]) }
        #expect(resolver.lookups == 3, "the second who asked for hangs-0 took no other")
        #expect(pool.lookupCount == 0)
        try await pool.shutDown()
    }

    @Test func failuresReachEverybodyWhoWaits() async throws {
        let failure = TransportError(.unreachable, message: "no such name")
        let pool = LookupPool(threads: 1, lookups: 3) { _ throws(TransportError) in throw failure }
        await #expect(throws: failure) {
            _ = try await pool.addresses(of: .init(host: "x", family: .v6), within: .hours(1), on: self.loop).get()
        }
        try await pool.shutDown()
    }

    @Test(arguments: ["localhost", "localhost.", "LOCALHOST", "demo.localhost"])
    func thisMachineNeedsNoResolver(host: String) async throws {
        let pool = LookupPool(threads: 1, lookups: 0) { _ throws(TransportError) in [] }
        let resolver = SystemAddressResolver(pool: pool)
        let endpoint = try Endpoint(host: host, port: 4433)
        let found = try await resolver.resolve(endpoint, family: .v4, on: self.loop).get()
        #expect(found.map(\.hostAndPort) == ["127.0.0.1:4433", "[::1]:4433"])
        #expect(try await resolver.resolve(endpoint, family: .v6, on: self.loop).get().isEmpty)
        try await pool.shutDown()
    }

    @Test func internationalisedNamesAreLookedUpAsALabels() async throws {
        let asked = Mutex<[String]>([])
        let pool = LookupPool(threads: 1, lookups: 2) { key throws(TransportError) in
            asked.withLock { $0.append(key.host) }
            return []
        }
        let resolver = SystemAddressResolver(pool: pool)
        for host in ["bücher.example", "absolute.example."] {
            _ = try await resolver.resolve(Endpoint(host: host, port: 1), family: .v4, on: self.loop).get()
        }
        #expect(asked.withLock { $0 } == ["xn--bcher-kva.example", "absolute.example."])
        try await pool.shutDown()
    }
}

/// Answers when it is told to.
private final class HangingResolver: Sendable {
    private let gate = DispatchSemaphore(value: 0)
    private let count = Mutex(0)

    var lookups: Int { self.count.withLock { $0 } }

    func lookUp(_ key: LookupPool.Key) throws(TransportError) -> [SocketAddress] {
        self.count.withLock { $0 += 1 }
        self.gate.wait()
        return (try? [SocketAddress(ipAddress: "192.0.2.1", port: 0)]) ?? []
    }

    func release(_ count: Int) {
        for _ in 0..<count { self.gate.signal() }
    }
}
