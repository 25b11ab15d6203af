// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import Foundation
import NIOCore
import TernTransport
import Testing

@testable import TernQUIC
@testable import TernQUICCore

/// A system sender that refuses by script.
private final class FaultySender: DatagramSender {
    private let system: SystemDatagramSender
    private let answer: (_ count: Int, _ segmentSize: Int) -> CInt

    init(channel: any Channel, descriptor: CInt, answer: @escaping (Int, Int) -> CInt) {
        self.system = SystemDatagramSender(channel: channel, descriptor: descriptor, usesSourceAddress: false)
        self.answer = answer
    }

    var canSegment: Bool { true }

    func send(_ bytes: UnsafeRawBufferPointer, segmentSize: Int, path: QUICPath, ecn: ECN) -> CInt {
        let code = self.answer(bytes.count, segmentSize)
        guard code == 0 else { return code }
        return self.system.send(bytes, segmentSize: segmentSize, path: path, ecn: ecn)
    }
}

extension SocketTests {
    @Suite(.serialized) struct NetworkFaults {
        /// Transfers a megabyte there and back while both ends' sockets answer as `answer` says.
        private func survives(
            _ answer: @escaping @Sendable (_ call: Int, _ count: Int, _ segment: Int) -> CInt
        ) async throws {
            var options = UDPSocketOptions()
            options.makeSender = { channel, descriptor in
                var calls = 0
                return FaultySender(channel: channel, descriptor: descriptor) { count, segment in
                    calls += 1
                    return answer(calls, count, segment)
                }
            }
            try await withListener(socketOptions: options) { listener in
                let answer = try await withConnection(to: listener.localAddress, socketOptions: options) {
                    try roundTrip(1_000_000, over: $0, answer: $1)
                }
                #expect(answer == Pattern.bytes(at: 0, count: 1_000_000))
            }
        }

        @Test func aRouteThatIsGoneForAMoment() async throws {
            try await self.survives { call, _, _ in (5...8).contains(call) ? ENETUNREACH : 0 }
        }

        @Test(arguments: [EPERM, ENOBUFS, EHOSTUNREACH, ECONNREFUSED])
        func nowAndThenARefusal(code: CInt) async throws {
            try await self.survives { call, _, _ in call % 10 == 7 ? code : 0 }
        }

        @Test func aSmallerMTUThanTheProbes() async throws {
            try await self.survives { _, _, segment in segment > 1300 ? EMSGSIZE : 0 }
        }

        @Test func aDeviceThatCannotSegment() async throws {
            try await self.survives { _, count, segment in count > segment ? EIO : 0 }
        }

        @Test func aSendBufferThatIsOftenFull() async throws {
            try await self.survives { call, _, _ in call % 3 == 0 ? EAGAIN : 0 }
        }

        @Test func channelWritesCarryAConnectionToo() async throws {
            var options = UDPSocketOptions()
            options.makeSender = { channel, _ in ChannelDatagramSender(channel: channel) }
            try await withListener(socketOptions: options) { listener in
                let answer = try await withConnection(to: listener.localAddress, socketOptions: options) {
                    try roundTrip(1_000_000, over: $0, answer: $1)
                }
                #expect(answer == Pattern.bytes(at: 0, count: 1_000_000))
            }
        }

        @Test func twoHundredConnectionsLeaveNothingBehind() async throws {
            let sockets = SocketCensus()
            weak var weakConnection: QUICConnection?
            try await withListener { listener in
                let port = try #require(listener.localAddress.port)
                let before = try openSockets(at: port)
                for _ in 0..<200 {
                    let connection = try await connect(
                        to: listener.localAddress, socketOptions: sockets.options
                    ).established.get()
                    weakConnection = connection as? QUICConnection
                    let reason = try await connection.eventLoop.flatSubmit {
                        let handler = TestHandler(connection)
                        connection.start(handler: handler)
                        connection.close(code: 0, reason: "")
                        return handler.closed
                    }.get()
                    #expect(reason.code == .application)
                }
                let isEmpty = try await eventually {
                    let occupancy = try await listener.occupancy().get()
                    return occupancy.connections == 0 && occupancy.routes == 0
                }
                #expect(isEmpty)
                let hasNoMore = try await eventually { try openSockets(at: port) == before }
                #expect(hasNoMore)
            }
            #expect(sockets.everOpened == 200)
            let areClosed = try await eventually { sockets.open == 0 }
            #expect(areClosed, "\(sockets.open) are open")
            let isReleased = try await eventually { weakConnection == nil }
            #expect(isReleased)
        }
    }
}
