// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Logging
import NIOCore
import NIOPosix
import TernQMux
import TernQUIC
import TernTLS
import TernTesting
import TernTransport

/// A real carrier over the loopback interface: a listener and a connector of its own for each pair.
struct LoopbackHarness: ConformanceHarness {
    let carrier: Carrier

    private static let identity = Result { try TLSIdentity.selfSigned(for: ["localhost"]) }
    private static let protocols = ["conformance/1"]

    func connect(
        client: ConnectionLimits, server: ConnectionLimits, replayable: [ReplayableStream]
    ) async throws -> ConformancePair {
        let group = MultiThreadedEventLoopGroup.singleton
        let identity = try Self.identity.get()
        let (accepted, sink) = AsyncStream.makeStream(of: (any LoopConnection).self)
        let listener = try await self.listen(identity, limits: server, group: group) { sink.yield($0) }
        do {
            let connector = try self.connector(trusting: identity, limits: client)
            let attempt = connector.connect(
                to: listener.localAddress, serverName: "localhost", replayable: replayable, on: group.next())
            let clientEnd = try await attempt.established.get()
            guard let serverEnd = await accepted.first(where: { _ in true }) else {
                throw ConformanceFailure("nothing was accepted")
            }
            return ConformancePair(client: clientEnd, server: serverEnd) { try? await listener.close().get() }
        } catch {
            try? await listener.close().get()
            throw error
        }
    }

    private func listen(
        _ identity: SelfSignedIdentity, limits: ConnectionLimits, group: any EventLoopGroup,
        _ accept: @escaping @Sendable (any LoopConnection) -> Void
    ) async throws -> any CarrierListener {
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        let tls = TLSServerConfiguration(identity: identity.identity)
        let logger = Logger(label: "conformance", factory: { _ in SwiftLogNoOpLogHandler() })
        if self.carrier == .quic {
            return try await QUICListener.bind(
                to: address, tls: tls, applicationProtocols: Self.protocols, limits: limits, eventLoopGroup: group,
                logger: logger, onConnection: accept
            ).get()
        }
        return try await QMuxListener.bind(
            to: address, tls: tls, applicationProtocols: Self.protocols, limits: limits, eventLoopGroup: group,
            logger: logger, onConnection: accept
        ).get()
    }

    private func connector(
        trusting identity: SelfSignedIdentity, limits: ConnectionLimits
    ) throws -> any CarrierConnector {
        let tls = TLSClientConfiguration(trust: .certificateAuthorities(pem: identity.certificateAuthorityPEM))
        let logger = Logger(label: "conformance", factory: { _ in SwiftLogNoOpLogHandler() })
        if self.carrier == .quic {
            return try QUICConnector(tls: tls, applicationProtocols: Self.protocols, limits: limits, logger: logger)
        }
        return try QMuxConnector(tls: tls, applicationProtocols: Self.protocols, limits: limits, logger: logger)
    }
}
