// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import NIOPosix
internal import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Turns a host name into addresses of one family. Tests put a double in its place.
protocol AddressResolving: Sendable {
    /// - Returns: on `eventLoop`, the addresses in the order of preference (RFC 6724), or a ``TransportError``.
    func resolve(
        _ endpoint: Endpoint, family: ConnectionRace.AddressFamily, on eventLoop: any EventLoop
    ) -> EventLoopFuture<[SocketAddress]>
}

/// The system's resolver (`getaddrinfo`), on NIO's thread pool for blocking calls.
struct SystemAddressResolver: AddressResolving {
    func resolve(
        _ endpoint: Endpoint, family: ConnectionRace.AddressFamily, on eventLoop: any EventLoop
    ) -> EventLoopFuture<[SocketAddress]> {
        if let literal = try? SocketAddress(ipAddress: endpoint.host, port: endpoint.port) {
            let isWanted = (literal.protocol == .inet6) == (family == .v6)
            return eventLoop.makeSucceededFuture(isWanted ? [literal] : [])
        }
        return NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) {
            try Self.lookUp(endpoint, family: family)
        }
    }

    /// Blocks.
    private static func lookUp(
        _ endpoint: Endpoint, family: ConnectionRace.AddressFamily
    ) throws(TransportError) -> [SocketAddress] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = family == .v6 ? AF_INET6 : AF_INET
        unsafe hints.ai_socktype = Self.datagramSocketType
        unsafe hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(endpoint.host, String(endpoint.port), &hints, &list)
        defer { if let list = unsafe list { unsafe freeaddrinfo(list) } }
        guard status == 0 else {
            if Self.meansNoAddress(status) { return [] }
            let text = unsafe String(cString: gai_strerror(status))
            throw TransportError(
                .unreachable, message: "\(endpoint.host) does not resolve: \(text)", isRetrySafe: true)
        }
        var addresses: [SocketAddress] = []
        var next = unsafe list
        while let entry = unsafe next {
            if let address = unsafe Self.address(in: entry.pointee), !addresses.contains(address) {
                addresses.append(address)
            }
            unsafe next = entry.pointee.ai_next
        }
        return addresses
    }

    private static func address(in entry: addrinfo) -> SocketAddress? {
        guard let raw = unsafe entry.ai_addr else { return nil }
        switch unsafe entry.ai_family {
        case AF_INET:
            return unsafe raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { SocketAddress(unsafe $0.pointee) }
        case AF_INET6:
            return unsafe raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { SocketAddress(unsafe $0.pointee) }
        default:
            return nil
        }
    }

    /// The name may exist with addresses of the other family only.
    private static func meansNoAddress(_ status: Int32) -> Bool {
        #if canImport(Glibc) || canImport(Musl)
        let noAddress: Int32 = -5  // EAI_NODATA, hidden behind _GNU_SOURCE
        let otherFamily: Int32 = -9  // EAI_ADDRFAMILY, likewise
        return status == noAddress || status == otherFamily
        #else
        return status == EAI_NODATA
        #endif
    }

    private static var datagramSocketType: Int32 {
        #if canImport(Glibc)
        Int32(SOCK_DGRAM.rawValue)
        #else
        SOCK_DGRAM
        #endif
    }
}
