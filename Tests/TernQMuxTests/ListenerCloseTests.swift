// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import NIOPosix
import TernTransport
import Testing

@testable import TernQMux

extension SocketTests {
    /// A listener that closes while clients are at their handshakes. No time-out is short enough to be what they hear.
    @Suite(.serialized) struct ListenerCloses {
        private var limits: ConnectionLimits {
            var limits = ConnectionLimits()
            limits.handshakeTimeout = .hours(1)
            limits.idleTimeout = nil
            return limits
        }

        /// - Parameters:
        ///   - tls: the client has finished TLS, and said nothing of QMux.
        ///   - first: what it has sent of TLS, if not.
        private func hears(tls: Bool, first: [UInt8] = []) async throws {
            var peer: RawPeer?
            try await withListener(limits: self.limits) { listener in
                let client = try await RawPeer.connect(to: listener.localAddress, tls: tls)
                if !tls { try await client.sendUnencrypted(ByteBuffer(bytes: first)) }
                let isThere = try await eventually { listener.connectionCount == 1 }
                #expect(isThere)
                // The listener waits for this end's word when it has said its own.
                async let closed: Void = listener.close().get()
                let hasHeard = try await eventually { try await client.isOver() }
                #expect(hasHeard)
                client.close()
                try await closed
                peer = client
            }
            try await #require(peer).ended.get()
        }

        @Test func aClientThatHasNotBegunTLSHears() async throws { try await self.hears(tls: false) }

        @Test func aClientInTheMiddleOfTLSHears() async throws {
            // The header of a record with a ClientHello, and some of it.
            try await self.hears(tls: false, first: [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03])
        }

        @Test func aClientThatHasSaidNothingBehindTLSHears() async throws { try await self.hears(tls: true) }

        @Test func clientsAtAnyPointHearAtOnce() async throws {
            for count in [1, 5, 20] {
                let attempts = NIOLockedBox<[ConnectionAttempt]>([])
                let accepted = Accepted()
                try await withListener(limits: self.limits, onConnection: accepted.start) { listener in
                    for _ in 0..<40 {
                        let attempt = try connect(to: listener.localAddress, limits: self.limits)
                        attempts.update { $0.append(attempt) }
                    }
                    let hasBegun = try await eventually { listener.connectionCount >= count }
                    #expect(hasBegun)
                }
                for attempt in attempts.value {
                    do {
                        let connection = try await attempt.established.get()
                        let reason = try await connection.eventLoop.flatSubmit {
                            let handler = TestHandler(connection)
                            connection.start(handler: handler)
                            return handler.closed
                        }.get()
                        #expect([.application, .carrierLost].contains(reason.code), "\(reason)")
                    } catch let error as TransportError {
                        let codes: [TransportError.Code] = [
                            .carrierLost, .connectionRefused, .handshakeFailed, .application,
                        ]
                        #expect(codes.contains(error.code), "\(error)")
                    }
                }
            }
        }
    }
}
