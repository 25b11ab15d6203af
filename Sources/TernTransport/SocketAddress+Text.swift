// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

extension SocketAddress {
    /// How people write an address: `192.0.2.1:4433` or `[2001:db8::1]:4433`. An IPv4 address that a socket for both families
    /// shows as IPv6 (RFC 4291, section 2.5.5.2) is written as IPv4. An address that is unique on its link only has its zone
    /// (RFC 4007, section 11): `[fe80::1%eth0]:4433`.
    package var hostAndPort: String {
        guard var host = self.ipAddress, let port = self.port else { return "\(self)" }
        let mapping = "::ffff:"
        if host.hasPrefix(mapping), host.dropFirst(mapping.count).contains(".") { host.removeFirst(mapping.count) }
        return host.contains(":") ? "[\(host)\(self.zone)]:\(port)" : "\(host):\(port)"
    }

    /// Of a link-local address (RFC 4291, section 2.5.6).
    private var zone: String {
        // The field belongs to a module of C, which this target knows none of.
        guard case .v6(let address) = self, let host = self.ipAddress, host.hasPrefix("fe80:"),
            let number = Mirror(reflecting: address.address).descendant("sin6_scope_id") as? UInt32, number != 0
        else { return "" }
        let device = (try? System.enumerateDevices())?.first { $0.interfaceIndex == Int(number) }
        return "%\(device?.name ?? "\(number)")"
    }
}

extension IOError {
    /// What the system says, without the function that heard it: `address already in use (errno 98)`.
    package var systemText: String { "\(self.systemWords) (errno \(self.errnoCode))" }

    /// The same without the number.
    var systemWords: String {
        // NIO's own text is "WHERE: What it means) (errno: 98)".
        let text = IOError(errnoCode: self.errnoCode, reason: "").description
        let words = text.drop { $0 == ":" || $0 == " " }.prefix { $0 != ")" && $0 != "(" }
        guard let first = words.first else { return "unknown" }
        return "\(first.lowercased())\(words.dropFirst())"
    }
}

extension TransportError {
    /// A socket could not be bound.
    ///
    /// - Parameter transport: `UDP` or `TCP`.
    package static func cannotListen(
        on address: SocketAddress, over transport: String, cause: any Error
    ) -> TransportError {
        if let error = cause as? TransportError { return error }
        let reason = (cause as? IOError)?.systemText ?? "\(cause)"
        return TransportError(
            .cannotListen, message: "cannot listen on \(address.hostAndPort) over \(transport): \(reason)", cause: cause
        )
    }
}
