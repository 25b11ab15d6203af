// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import NIOPosix
internal import TernQMux
internal import TernQUIC
internal import TernTLS
internal import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Finds one port that is free for TCP and for UDP, and binds a listener of each carrier to it.
struct ListenerBinder: Sendable {
    let applicationProtocol: ApplicationProtocol
    let tls: TLSServerConfiguration
    let limits: ConnectionLimits
    let listenerLimits: ListenerLimits
    let quicOptions: QUICOptions
    let quicServerOptions: QUICServerOptions
    let tcpOptions: TCPOptions
    let eventLoopGroup: any EventLoopGroup
    let logger: Logger
    let onConnection: @Sendable (any LoopConnection) -> Void

    /// How often another port is tried when the kernel's choice for TCP is taken for UDP.
    private static let portAttempts = 32

    func bindBoth(to endpoint: Endpoint) async throws -> (quic: any CarrierListener, tls: any CarrierListener) {
        try self.applicationProtocol.check()
        let address = try await self.address(of: endpoint)
        var attempt = 1
        while true {
            let tls = try await self.bindTLS(to: address)
            do {
                var sharedAddress = address
                sharedAddress.port = tls.localAddress.port
                return (try await self.bindQUIC(to: sharedAddress), tls)
            } catch {
                try? await tls.close().get()
                // A port that the caller named is occupied: no other will do.
                let cause = error.cause as? IOError
                guard endpoint.port == 0, attempt < Self.portAttempts, cause?.errnoCode == EADDRINUSE else {
                    throw error
                }
                attempt += 1
            }
        }
    }

    private func address(of endpoint: Endpoint) async throws -> SocketAddress {
        let resolver = SystemAddressResolver()
        var failure: (any Error)?
        for family in ConnectionRace.AddressFamily.allCases {
            do {
                let found = try await resolver.resolve(endpoint, family: family, on: self.eventLoopGroup.any()).get()
                if let address = found.first { return address }
            } catch {
                failure = error
            }
        }
        let reason = (failure as? TransportError)?.message ?? "\(endpoint.host) has no address"
        throw TransportError(.cannotListen, message: "cannot listen on \(endpoint): \(reason)", cause: failure)
    }

    private func bindTLS(to address: SocketAddress) async throws(TransportError) -> any CarrierListener {
        try await Self.bound(at: address, over: "TCP") {
            QMuxListener.bind(
                to: address, tls: self.tls, applicationProtocols: [self.applicationProtocol.tls], limits: self.limits,
                listenerLimits: self.listenerLimits, options: self.tcpOptions, eventLoopGroup: self.eventLoopGroup,
                logger: self.logger, onConnection: self.onConnection)
        }
    }

    private func bindQUIC(to address: SocketAddress) async throws(TransportError) -> any CarrierListener {
        var serverOptions = self.quicServerOptions
        serverOptions.limits = serverOptions.limits.completed(by: self.listenerLimits)
        return try await Self.bound(at: address, over: "UDP") { [serverOptions] in
            QUICListener.bind(
                to: address, tls: self.tls, applicationProtocols: [self.applicationProtocol.quic], limits: self.limits,
                options: self.quicOptions, serverOptions: serverOptions, eventLoopGroup: self.eventLoopGroup,
                logger: self.logger, onConnection: self.onConnection)
        }
    }

    /// What the drivers and TLS say, as errors of the transport that name the address.
    private static func bound<Bound: CarrierListener>(
        at address: SocketAddress, over transport: String, _ bind: () -> EventLoopFuture<Bound>
    ) async throws(TransportError) -> any CarrierListener {
        do {
            return try await bind().get()
        } catch let error as TLSError {
            throw TransportError(unusable: error)
        } catch {
            throw .cannotListen(on: address, over: transport, cause: error)
        }
    }
}

extension TransportError {
    /// An identity or a trust can't be used.
    init(unusable error: TLSError) {
        self.init(.misuse, message: error.message, cause: error)
    }
}
