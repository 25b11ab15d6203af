// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import Synchronization
import TernTransport
import Testing

@testable import TernQMux

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

extension SocketTests {
    /// Who is let in, and what happens when the system has nothing left.
    @Suite(.serialized) struct Admission {
        #if os(Linux)
        @Test func oneHostWithSilentSocketsLeavesRoomForOthers() async throws {
            var limits = ListenerLimits()
            limits.handshakes = 8
            limits.handshakesPerAddress = 3
            try await withListener(listenerLimits: limits) { listener in
                var silent: [RawPeer] = []
                for _ in 0..<20 {
                    silent.append(try await RawPeer.connect(to: listener.localAddress, tls: false, from: "127.0.0.2"))
                }
                // All but three are turned away at once, not when their handshake runs out of time.
                let areAway = try await eventually {
                    var over = 0
                    for peer in silent where try await peer.isOver() { over += 1 }
                    return over == 17
                }
                #expect(areAway)
                #expect(listener.connectionCount == 3)
                let cameBack = try await echoes(10, at: listener.localAddress)
                #expect(cameBack)
                for peer in silent { peer.close() }
                let isEmpty = try await eventually { listener.connectionCount == 0 }
                #expect(isEmpty)
                let again = try await RawPeer.connect(to: listener.localAddress, tls: true, from: "127.0.0.2")
                again.close()
            }
        }

        @Test func connectionsAreCappedForEachHostToo() async throws {
            var limits = ListenerLimits()
            limits.connectionsPerAddress = 2
            try await withListener(listenerLimits: limits) { listener in
                let first = try await RawPeer.connect(to: listener.localAddress, tls: true, from: "127.0.0.2")
                let second = try await RawPeer.connect(to: listener.localAddress, tls: true, from: "127.0.0.2")
                let third = try await RawPeer.connect(to: listener.localAddress, tls: false, from: "127.0.0.2")
                let isOver = try await eventually { try await third.isOver() }
                #expect(isOver)
                third.close()
                let cameBack = try await echoes(10, at: listener.localAddress)
                #expect(cameBack)
                first.close()
                second.close()
            }
        }
        #endif

        /// A session that cannot be made gives its place back.
        @Test func aPlaceIsGivenBackWhenNothingComesOfIt() async throws {
            let listener = try await QMuxListener.bind(
                to: try SocketAddress(ipAddress: "127.0.0.1", port: 0), tls: try TestTLS.server(),
                applicationProtocols: [String(repeating: "a", count: 300)],
                eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: testLogger, onConnection: { echo($0) }
            ).get()
            let peer = try await RawPeer.connect(to: listener.localAddress, tls: false)
            let isOver = try await eventually { try await peer.isOver() }
            #expect(isOver)
            #expect(listener.connectionCount == 0)
            peer.close()
            try await listener.close().get()
        }

        @Test(arguments: [EMFILE, ENFILE, ENOBUFS, ENOMEM])
        func aSocketWithoutMeansRestsAndSaysSoOnce(code: CInt) throws {
            let log = LogCollector()
            let channel = EmbeddedChannel(handler: AcceptGate(logger: log.logger))
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            for rest in [50, 100, 200, 400, 800, 1_000, 1_000] as [Int64] {
                channel.pipeline.fireErrorCaught(IOError(errnoCode: code, reason: "accept"))
                #expect(channel.readsNow == false)
                channel.embeddedEventLoop.advanceTime(by: .milliseconds(rest - 1))
                #expect(channel.readsNow == false, "it rests for \(rest) ms")
                channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
                #expect(channel.readsNow == true)
            }
            #expect(log.messages.count == 1)
            #expect(log.messages.first?.hasPrefix("cannot accept TCP connections: ") == true)
            if code == EMFILE { #expect(log.messages.first?.contains("ulimit -n") == true) }
            _ = try channel.finish()
        }

        @Test func aConnectionThatWasGoneAlreadyIsNoReasonToRest() throws {
            let log = LogCollector()
            let channel = EmbeddedChannel(handler: AcceptGate(logger: log.logger))
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            channel.pipeline.fireErrorCaught(IOError(errnoCode: ECONNABORTED, reason: "accept"))
            #expect(channel.readsNow == nil)
            #expect(throws: IOError.self) { try channel.throwIfErrorCaught() }
            #expect(log.messages.isEmpty)
            _ = try channel.finish()
        }

        @Test func warningsComeNowAndThen() {
            var backoff = AcceptBackoff()
            let start = NIODeadline.uptimeNanoseconds(0)
            #expect(backoff.failed(at: start).warns)
            #expect(!backoff.failed(at: start + .minutes(9)).warns)
            backoff.accepted()
            let next = backoff.failed(at: start + .minutes(10))
            #expect(next.warns)
            #expect(next.rest == .milliseconds(50))
        }
    }
}

extension EmbeddedChannel {
    /// What was said last about reading by itself.
    fileprivate var readsNow: Bool? {
        self.options.last { $0.0 is ChannelOptions.Types.AutoReadOption }.flatMap { $0.1 as? Bool }
    }
}

/// Keeps what is logged at warning level and above.
private final class LogCollector: LogHandler, Sendable {
    private let kept = Mutex<[String]>([])

    var messages: [String] { self.kept.withLock { $0 } }
    var logger: Logger { Logger(label: "test") { _ in self } }

    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .warning }
        set {}
    }
    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        self.kept.withLock { $0.append("\(event.message)") }
    }
}
