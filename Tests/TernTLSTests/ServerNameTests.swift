// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernTLS

@Suite("Names of servers")
struct ServerNameTests {
    @Test(arguments: [
        ("good.example", "good.example", false), ("good.example.", "good.example", false),
        ("Good.EXAMPLE", "good.example", false), ("localhost", "localhost", false),
        ("my_host", "my_host", false), ("192.0.2.1", "192.0.2.1", true), ("2001:DB8::1", "2001:db8::1", true),
        ("fe80::1%eth0", "fe80::1", true), ("fe80::1%2", "fe80::1", true),
        ("bücher.example", "xn--bcher-kva.example", false), ("BÜCHER.example.", "xn--bcher-kva.example", false),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", false),
    ])
    func areWrittenAsCertificatesHaveThem(host: String, text: String, isAddress: Bool) throws {
        let name = try ServerName(host)
        #expect(name.text == text)
        #expect(name.isAddress == isAddress)
    }

    @Test(arguments: [
        "", ".", "a..b", "good example", "good.example:443", "[::1]", "a/b", "x\0y", "good.example..",
        String(repeating: "a", count: 64), String(repeating: "a.", count: 127) + "aa", "192.0.2.1%eth0", "a@b",
        "ü\u{202e}.x",
    ])
    func orAreRefused(host: String) {
        #expect(throws: TransportError(.misuse, message: "")) { _ = try ServerName(host) }
    }

    /// The name of an absolute domain and the zone of an address are ours, not the server's.
    @Test(arguments: [
        ("good.example.", "good.example"), ("fe80::1%lo", "fe80::1"), ("bücher.example", "xn--bcher-kva.example"),
    ])
    func certificatesAreComparedWithoutDotAndZone(host: String, certified: String) throws {
        let made = try TLSIdentity.selfSigned(for: [certified])
        let pair = try TLSPair(
            identity: made.identity, trust: .certificateAuthorities(pem: made.certificateAuthorityPEM), serverName: host
        )
        try pair.handshake()
    }
}
