// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import NIOPosix
internal import TernTLS
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

/// The system's resolver (`getaddrinfo`), on threads of its own.
struct SystemAddressResolver: AddressResolving {
    var timeout: TimeAmount = ConnectionPolicy().lookupTimeout
    var pool = LookupPool.shared

    func resolve(
        _ endpoint: Endpoint, family: ConnectionRace.AddressFamily, on eventLoop: any EventLoop
    ) -> EventLoopFuture<[SocketAddress]> {
        let port = endpoint.port
        if let literal = try? SocketAddress(ipAddress: endpoint.host, port: port) {
            let isWanted = (literal.protocol == .inet6) == (family == .v6)
            return eventLoop.makeSucceededFuture(isWanted ? [literal] : [])
        }
        do {
            let name = try ServerName(endpoint.host)
            if Self.isThisMachine(name) { return eventLoop.makeSucceededFuture(try Self.loopback(family, port)) }
            // What the server's name has no use for says where to look: a dot at the end, a zone.
            let host = endpoint.host.utf8.allSatisfy { $0 < 0x80 } ? endpoint.host : name.text
            return self.pool.addresses(of: .init(host: host, family: family), within: self.timeout, on: eventLoop)
                .map { addresses in
                    addresses.map { address in
                        var address = address
                        address.port = port
                        return address
                    }
                }
        } catch {
            return eventLoop.makeFailedFuture(error)
        }
    }

    /// RFC 6761, section 6.3: nobody is asked for `localhost` and the names below it, whatever networks there are.
    private static func isThisMachine(_ name: ServerName) -> Bool {
        name.text == "localhost" || name.text.hasSuffix(".localhost")
    }

    /// IPv4 before IPv6, both under IPv4: most servers for this machine listen at 127.0.0.1 alone.
    private static func loopback(_ family: ConnectionRace.AddressFamily, _ port: Int) throws -> [SocketAddress] {
        guard family == .v4 else { return [] }
        return [
            try SocketAddress(ipAddress: "127.0.0.1", port: port), try SocketAddress(ipAddress: "::1", port: port),
        ]
    }

    /// Blocks.
    static func lookUp(_ key: LookupPool.Key) throws(TransportError) -> [SocketAddress] {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = key.family == .v6 ? AF_INET6 : AF_INET
        unsafe hints.ai_socktype = Self.datagramSocketType
        // Addresses of a family that this machine does not have are no use; but where there is no network at all, glibc
        // would leave out those of this machine, too.
        unsafe hints.ai_flags = Self.hasNetwork ? AI_ADDRCONFIG : 0
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(key.host, nil, &hints, &list)
        defer { if let list = unsafe list { unsafe freeaddrinfo(list) } }
        guard status == 0 else {
            if Self.meansNoAddress(status) { return [] }
            let text = unsafe String(cString: gai_strerror(status))
            throw TransportError(.unreachable, message: "\(key.host) does not resolve: \(text)", isRetrySafe: true)
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

    /// Whether there is an address that is not this machine's alone.
    private static var hasNetwork: Bool {
        let devices = (try? System.enumerateDevices()) ?? []
        return devices.contains { device in
            guard let address = device.address?.ipAddress else { return false }
            return !address.hasPrefix("127.") && address != "::1"
        }
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
