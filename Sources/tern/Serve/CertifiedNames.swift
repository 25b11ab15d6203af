// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
internal import NIOCore
internal import Tern

/// Under which names and addresses clients may reach a server that makes its certificate itself.
struct CertifiedNames {
    /// Those that the command line asks for.
    let asked: [ServerName]
    /// Those that this machine has now, too.
    let all: [ServerName]

    /// More addresses than this are not certified: a machine with hundreds of virtual networks would make a certificate that
    /// is larger than the first packets of a handshake may be.
    private static let maximumOwn = 32

    /// - Parameters:
    ///   - listen: where the server listens; a wildcard asks for nothing.
    ///   - hosts: what clients use besides.
    /// - Throws: `TransportError` for what can be no name.
    init(listen: String, hosts: [String], machine: [String] = Self.namesOfThisMachine()) throws(TransportError) {
        var asked: [ServerName] = []
        for host in (Self.isWildcard(listen) ? [] : [listen]) + hosts {
            let name = try ServerName(host)
            if !asked.contains(name) { asked.append(name) }
        }
        var all = asked
        for name in ["localhost", "127.0.0.1", "::1"] + machine.prefix(Self.maximumOwn) {
            // A machine may call itself what no certificate can say.
            guard let name = try? ServerName(name), !all.contains(name) else { continue }
            all.append(name)
        }
        (self.asked, self.all) = (asked, all)
    }

    /// Those asked for that the first certificate of `pem` does not have.
    func missing(in pem: [UInt8]) -> [ServerName] {
        guard let der = Self.firstCertificate(in: pem), let certificate = try? TLSCertificate(der: der) else {
            return []
        }
        return self.asked.filter { name in
            !certificate.alternativeNames.contains { alternative in
                switch alternative {
                case .dns(let text): !name.isAddress && text.lowercased() == name.text
                case .address(let bytes): name.isAddress && Self.address(bytes) == Self.address(name)
                case .email, .uri: false
                }
            }
        }
    }

    private static func firstCertificate(in pem: [UInt8]) -> [UInt8]? {
        let text = String(decoding: pem, as: UTF8.self)
        guard let start = text.range(of: "-----BEGIN CERTIFICATE-----"),
            let end = text.range(of: "-----END CERTIFICATE-----", range: start.upperBound..<text.endIndex)
        else { return nil }
        return Data(base64Encoded: String(text[start.upperBound..<end.lowerBound]), options: .ignoreUnknownCharacters)
            .map { Array($0) }
    }

    /// In the one form in which the system writes an address.
    private static func address(_ bytes: [UInt8]) -> String? {
        (try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes), port: 0))?.ipAddress
    }

    private static func address(_ name: ServerName) -> String? {
        (try? SocketAddress(ipAddress: name.text, port: 0))?.ipAddress
    }

    private static func isWildcard(_ host: String) -> Bool { host == "0.0.0.0" || host == "::" }

    /// The host's name and the addresses of its interfaces, as far as others can use them.
    private static func namesOfThisMachine() -> [String] {
        let addresses = ((try? System.enumerateDevices()) ?? []).compactMap { $0.address?.ipAddress }
        return [ProcessInfo.processInfo.hostName] + addresses.filter { !Self.isOfALinkOnly($0) }
    }

    /// RFC 3927 and RFC 4291, section 2.5.6: on every link another machine may have it.
    private static func isOfALinkOnly(_ address: String) -> Bool {
        let address = address.lowercased()
        return address.hasPrefix("169.254.") || ["fe8", "fe9", "fea", "feb"].contains { address.hasPrefix($0) }
    }
}
