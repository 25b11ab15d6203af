// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import NIOPosix
import TernTLS
import TernTransport
import Testing

@testable import TernQMux

#if canImport(Glibc)
import Glibc
#endif

extension SocketTests {
    /// Keys, datagram fates, TCP and mutual TLS.
    @Suite(.serialized) struct Contract {
        @Test func bothEndsExportTheSameKeys() async throws {
            let accepted = Accepted()
            try await withListener(onConnection: accepted.start) { listener in
                let client = try await started(at: listener.localAddress)
                let server = try await accepted.next()
                let isDone = try await eventually { try await server.isHandshakeComplete() }
                #expect(isDone)
                let keys = try await client.export("EXPORTER-tern", count: 40)
                #expect(keys.count == 40)
                #expect(try await server.export("EXPORTER-tern", count: 40) == keys)
                #expect(try await server.export("EXPORTER-other", count: 40) != keys)
                await #expect(throws: TransportError(.misuse, message: "")) {
                    _ = try await client.export("EXPORTER-tern", count: 0)
                }
                client.close()
            }
        }

        @Test func newKeysChangeNothingElse() async throws {
            try await withListener { listener in
                let (bytes, events) = try await withConnection(to: listener.localAddress) { handler, answer in
                    let connection = handler.connection
                    let events = NIOLockedBox<[ConnectionEvent.Kind]>([])
                    handler.onEvent = { event in events.update { $0.append(event.kind) } }
                    let bytes = connection.eventLoop.makePromise(of: ByteBuffer.self)
                    try roundTrip(1 << 20, over: handler, answer: bytes)
                    try connection.updateKeys()
                    #expect(throws: TransportError(.misuse, message: "")) { try connection.updateKeys() }
                    bytes.futureResult.map { ($0, events.value) }.cascade(to: answer)
                }
                let isWhole = bytes == Pattern.bytes(at: 0, count: 1 << 20)
                #expect(isWhole)
                #expect(events == [.handshakeConfirmed, .keysUpdated])
            }
        }

        @Test func datagramsTellWhetherTheyWereWrittenOrShed() async throws {
            var limits = ConnectionLimits()
            limits.bufferedDatagrams = 4
            try await withListener { listener in
                let fates = try await withConnection(to: listener.localAddress, limits: limits) { handler, answer in
                    var fates: [UInt64: DatagramFate] = [:]
                    handler.onSettled = { tag, fate in
                        #expect(fates.updateValue(fate, forKey: tag) == nil)
                        if fates.count == 6 { answer.succeed(fates) }
                    }
                    // All in one turn, so nothing leaves between them.
                    for tag in UInt64(0)..<6 {
                        let outcome = try handler.connection.sendDatagram(ByteBuffer(string: "hello"), tag: tag)
                        #expect(outcome == (tag < 4 ? .accepted : .dropped))
                    }
                }
                #expect(fates == [0: .shed, 1: .shed, 2: .written, 3: .written, 4: .written, 5: .written])
            }
        }

        @Test func theKernelTellsWhatItMeasured() async throws {
            try await withListener { listener in
                let statistics = try await withConnection(to: listener.localAddress) { handler, answer in
                    let bytes = handler.connection.eventLoop.makePromise(of: ByteBuffer.self)
                    try roundTrip(1 << 20, over: handler, answer: bytes)
                    bytes.futureResult.map { _ in handler.connection.statistics() }.cascade(to: answer)
                }
                #expect(statistics.roundTripTimeVariation ?? .zero > .zero)
                #expect(statistics.minimumRoundTripTime ?? .zero > .zero)
                #expect(statistics.pathMaximumSize ?? 0 >= 536)
                #expect(statistics.deliveryRate ?? 0 > 0)
                #expect(statistics.pacingRate ?? 0 > 0)
            }
        }

        @Test(arguments: ["reno", "cubic"])
        func congestionControlIsChosenOnBothSides(name: String) async throws {
            var options = TCPOptions()
            options.congestionControl = name
            let accepted = Accepted()
            try await withListener(options: options, onConnection: accepted.start) { listener in
                let connector = try QMuxConnector(
                    tls: try TestTLS.client(), applicationProtocols: [testProtocol], options: options,
                    logger: testLogger)
                let client = try await connector.connect(
                    to: listener.localAddress, serverName: "localhost",
                    on: MultiThreadedEventLoopGroup.singleton.next()
                ).established.get()
                let server = try await accepted.next().connection
                for connection in [client, server] {
                    let used = try await connection.eventLoop.submit {
                        (connection as? QMuxConnection)?.socket?.congestionControl
                    }.get()
                    #expect(used == name)
                }
                client.eventLoop.execute { client.close(code: 0, reason: "") }
            }
        }

        @Test func bothSidesTellTheKernelHowLongToWaitForAcknowledgements() async throws {
            var limits = ConnectionLimits()
            limits.unacknowledgedTimeout = .seconds(7)
            let accepted = Accepted()
            try await withListener(limits: limits, onConnection: accepted.start) { listener in
                let client = try await started(at: listener.localAddress, limits: limits)
                for connection in [client.connection, try await accepted.next().connection] {
                    let timeout = try await connection.eventLoop.submit {
                        (connection as? QMuxConnection)?.socket?.userTimeout
                    }.get()
                    #expect(timeout == .seconds(7))
                }
                client.close()
            }
        }

        @Test func aTimeoutOfTheKernelIsNamed() {
            var limits = ConnectionLimits()
            limits.unacknowledgedTimeout = .milliseconds(1500)
            let silence = IOError(errnoCode: ETIMEDOUT, reason: "read(descriptor:pointer:size:)")
            let error = QMuxTransport.lostError(silence, limits: limits)
            #expect(error == TransportError(.carrierLost, message: ""))
            #expect(error.message.contains("for 1.5 s") && error.message.contains("TCP_USER_TIMEOUT"))
            #expect(!"\(error)".contains("descriptor"))
            limits.unacknowledgedTimeout = nil
            #expect(QMuxTransport.lostError(silence, limits: limits).code == .carrierLost)
            let reset = QMuxTransport.lostError(IOError(errnoCode: ECONNRESET, reason: "read"), limits: limits)
            #expect(reset == TransportError(.carrierLost, message: "", initiator: .peer))
        }

        @Test func anUnknownCongestionControlIsAClearError() async throws {
            var options = TCPOptions()
            options.congestionControl = "nonesuch"
            let bound = await #expect(throws: TransportError(.misuse, message: "")) {
                try await withListener(options: options) { _ in }
            }
            #expect(bound?.message.contains("nonesuch") == true)
            let misguided = options
            try await withListener { listener in
                let connector = try QMuxConnector(
                    tls: try TestTLS.client(), applicationProtocols: [testProtocol], options: misguided,
                    logger: testLogger)
                let attempt = connector.connect(
                    to: listener.localAddress, serverName: "localhost",
                    on: MultiThreadedEventLoopGroup.singleton.next())
                let error = await #expect(throws: TransportError(.misuse, message: "")) {
                    _ = try await attempt.established.get()
                }
                #expect(error?.message.contains("nonesuch") == true)
            }
        }

        @Test func aServerKnowsItsClientsAndRefusesOthers() async throws {
            let alice = try TLSIdentity.selfSigned(client: "alice")
            var server = try TestTLS.server()
            server.clientAuthentication = .required(.certificateAuthorities(pem: alice.certificateAuthorityPEM))
            let accepted = Accepted()
            try await withListener(tls: server, onConnection: accepted.start) { listener in
                var known = try TestTLS.client()
                known.identity = alice.identity
                // Twice: the second one resumes.
                for _ in 0..<2 {
                    let client = try await connect(to: listener.localAddress, tls: known).established.get()
                    let leaf = try #require(try await accepted.next().connection.peerCertificates.first)
                    #expect(try TLSCertificate(der: leaf).commonName == "alice")
                    client.eventLoop.execute { client.close(code: 0, reason: "") }
                }
                let anonymous = try connect(to: listener.localAddress)
                await #expect(
                    throws: TransportError(.certificateRejected, message: "", wireCode: 0x174, initiator: .peer)
                ) {
                    _ = try await anonymous.established.get()
                }
                var stranger = try TestTLS.client()
                stranger.identity = try TLSIdentity.selfSigned(client: "mallory").identity
                let refused = try connect(to: listener.localAddress, tls: stranger)
                await #expect(
                    throws: TransportError(.certificateRejected, message: "", wireCode: 0x130, initiator: .peer)
                ) {
                    _ = try await refused.established.get()
                }
            }
        }
    }
}

extension TestHandler {
    fileprivate func isHandshakeComplete() async throws -> Bool {
        try await self.connection.eventLoop.submit { self.connection.isHandshakeComplete }.get()
    }

    fileprivate func export(_ label: String, count: Int) async throws -> [UInt8] {
        try await self.connection.eventLoop.submit {
            try self.connection.exportKeyingMaterial(label: label, context: [1, 2], count: count)
        }.get()
    }
}
