// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import NIOPosix
import TernTransport
import TestTimeLimits
import Testing

@testable import TernQUIC
@testable import TernQUICCore

/// Everything that needs real sockets, one test at a time: some count descriptors.
@Suite(.serialized, .untilItHangs) struct SocketTests {}

extension SocketTests {
    @Suite(.serialized) struct Echo {
        @Test(arguments: ["127.0.0.1", "::1"])
        func sixtyFourBytesComeBack(host: String) async throws {
            try await withListener(on: host) { listener in
                let cameBack = try await echoes(64, at: listener.localAddress)
                #expect(cameBack)
            }
        }

        @Test func aListenerOnAllAddressesServesBothFamiliesAndAnswersFromTheAddressAsked() async throws {
            try await withListener(on: "::") { listener in
                for host in ["::1", "127.0.0.1", "127.0.0.2"] {
                    let address = try SocketAddress(ipAddress: host, port: listener.localAddress.port!)
                    let cameBack = try await echoes(100_000, at: address)
                    #expect(cameBack, "\(host)")
                }
            }
            try await withListener(on: "0.0.0.0") { listener in
                let address = try SocketAddress(ipAddress: "127.0.0.2", port: listener.localAddress.port!)
                let cameBack = try await echoes(100_000, at: address)
                #expect(cameBack)
            }
        }

        @Test func aConnectionTellsWhoItIs() async throws {
            let server = NIOLockedBox<(any LoopConnection)?>(nil)
            try await withListener(
                on: "::",
                onConnection: { connection in
                    server.value = connection
                    echo(connection)
                }
            ) { listener in
                let port = try #require(listener.localAddress.port)
                let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
                let addresses = try await withConnection(to: address) { handler, answer in
                    let connection = handler.connection
                    #expect(connection.carrier == .quic)
                    #expect(connection.role == .client)
                    #expect(connection.applicationProtocol == testProtocol)
                    #expect(connection.peerCertificates.isEmpty == false)
                    #expect(connection.capabilities.hasUnreliableDatagrams)
                    #expect(connection.remoteAddress == address)
                    #expect(connection.localAddress?.ipAddress == "127.0.0.1")
                    #expect(connection.maximumDatagramSize > 1000)
                    let local = connection.localAddress
                    handler.onReceived = { _, bytes, _ in
                        let statistics = connection.statistics()
                        #expect(statistics.smoothedRoundTripTime != nil)
                        #expect(statistics.bytesSent > 1200)
                        #expect(statistics.packetsReceived ?? 0 > 0)
                        answer.succeed(local)
                    }
                    let stream = try #require(try connection.openStream(.bidirectional))
                    _ = try connection.write(ByteBuffer(string: "who"), to: stream, finish: true)
                }
                let connection = try #require(server.value)
                #expect(connection.role == .server)
                #expect(connection.peerCertificates.isEmpty)
                let seen = try await connection.eventLoop.submit {
                    [connection.remoteAddress, connection.localAddress]
                }.get()
                // An IPv4 client of a dual-stack socket is shown as what it is.
                #expect(seen == [addresses, address])
            }
        }

        @Test func oneHundredStreamsAtOnce() async throws {
            try await withListener { listener in
                let total = try await withConnection(to: listener.localAddress) { handler, answer in
                    let connection = handler.connection
                    let expected = Pattern.bytes(at: 0, count: 10_000)
                    var received: [StreamID: ByteBuffer] = [:]
                    var good = 0
                    handler.onReceived = { stream, bytes, finished in
                        received[stream, default: ByteBuffer()].writeImmutableBuffer(bytes)
                        connection.consumed(bytes.readableBytes, of: stream)
                        guard finished else { return }
                        if received[stream] == expected { good += 1 }
                        received[stream] = nil
                        if received.isEmpty { answer.succeed(good) }
                    }
                    for _ in 0..<100 {
                        let stream = try #require(try connection.openStream(.bidirectional))
                        received[stream] = ByteBuffer()
                        _ = try connection.write(expected, to: stream, finish: true)
                    }
                }
                #expect(total == 100)
            }
        }

        @Test func openingMoreStreamsThanAllowedWaitsForThePeer() async throws {
            var limits = ConnectionLimits()
            limits.bidirectionalStreams = 4
            try await withListener(limits: limits) { listener in
                let count = try await withConnection(to: listener.localAddress) { handler, answer in
                    let connection = handler.connection
                    var opened = 0
                    var finished = 0
                    func open() throws {
                        while opened < 20, let stream = try connection.openStream(.bidirectional) {
                            opened += 1
                            _ = try connection.write(ByteBuffer(string: "x"), to: stream, finish: true)
                        }
                    }
                    handler.onReceived = { stream, bytes, end in
                        connection.consumed(bytes.readableBytes, of: stream)
                        if end { finished += 1 }
                        if finished == 20 { answer.succeed(finished) }
                    }
                    handler.onStreamsAvailable = { direction in
                        #expect(direction == .bidirectional)
                        #expect(throws: Never.self) { try open() }
                    }
                    try open()
                    #expect(opened == 4)
                }
                #expect(count == 20)
            }
        }

        @Test func datagramsComeBack() async throws {
            try await withListener { listener in
                let count = try await withConnection(to: listener.localAddress) { handler, answer in
                    let connection = handler.connection
                    var seen: Set<Int> = []
                    handler.onDatagram = { bytes in
                        #expect(bytes.readableBytes == 1000)
                        if let number = bytes.getInteger(at: 0, as: Int.self) { seen.insert(number) }
                        if seen.count == 100 { answer.succeed(seen.count) }
                    }
                    for number in 0..<100 {
                        var bytes = ByteBuffer(integer: number)
                        bytes.writeRepeatingByte(1, count: 992)
                        let outcome = try connection.sendDatagram(bytes)
                        #expect(outcome == .accepted)
                    }
                    #expect(throws: TransportError(.limitExceeded, message: "")) {
                        try connection.sendDatagram(
                            ByteBuffer(repeating: 0, count: connection.maximumDatagramSize + 1))
                    }
                }
                #expect(count == 100)
            }
        }
    }
}
