// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Tern
import Testing

@Suite("Endpoints as text")
struct EndpointTests {
    @Test(arguments: [
        ("example.org:4433", "example.org", 4433), ("192.0.2.1:0", "192.0.2.1", 0),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535), ("[::]:443", "::", 443),
        ("example.org.:443", "example.org.", 443), ("[fe80::1%eth0]:443", "fe80::1%eth0", 443),
        ("bücher.example:443", "bücher.example", 443),
    ])
    func readsAndWrites(text: String, host: String, port: Int) throws {
        let endpoint = try #require(Endpoint(text))
        #expect(endpoint.host == host)
        #expect(endpoint.port == port)
        #expect("\(endpoint)" == text)
    }

    @Test(arguments: [
        "", "example.org", ":443", "example.org:", "example.org:65536", "example.org:-1", "example.org:+4", "::1:443",
        "[]:443", "a:b",
        "a b:443", "a/b:443", "x\0y:443", "a..b:443", "[example.org:443",
    ])
    func refuses(text: String) {
        #expect(Endpoint(text) == nil)
    }

    @Test(arguments: [-1, 65_536, 70_000, .max, .min])
    func portsAreChecked(port: Int) {
        for host in ["127.0.0.1", "example.org"] {
            let error = #expect(throws: TransportError(.misuse, message: "")) {
                _ = try Endpoint(host: host, port: port)
            }
            #expect(error?.message.contains("\(port)") == true)
        }
    }

    @Test(arguments: ["", "a b", "a:b", "x\ny", String(repeating: "a", count: 300)])
    func hostsAreChecked(host: String) {
        #expect(throws: TransportError(.misuse, message: "")) { _ = try Endpoint(host: host, port: 1) }
    }

    @Test func someNeedNoCheck() throws {
        #expect(try Endpoint.loopback(port: 7) == Endpoint(host: "127.0.0.1", port: 7))
        #expect(try Endpoint.everywhere() == Endpoint(host: "[::]", port: 0))
    }
}

@Suite("ALPN identifiers")
struct ApplicationProtocolTests {
    @Test(arguments: [
        ApplicationProtocol(""), ApplicationProtocol(String(repeating: "a", count: 27)),
        ApplicationProtocol(quic: "a", tls: String(repeating: "b", count: 32)),
        ApplicationProtocol(quic: String(repeating: "a", count: 32), tls: "b"),
        ApplicationProtocol(quic: "a", tls: "a"),
    ])
    func whatCannotWorkIsAnErrorAtOnce(name: ApplicationProtocol) async throws {
        #expect(throws: TransportError(.misuse, message: "")) {
            _ = try Connector(applicationProtocol: name, tls: TLSClientConfiguration())
        }
        let identity = try TLSIdentity.selfSigned().identity
        await #expect(throws: TransportError(.misuse, message: "")) {
            _ = try await Listener.bind(
                to: .loopback(), applicationProtocol: name, tls: TLSServerConfiguration(identity: identity))
        }
    }

    /// The longest that there is room for, over both carriers.
    @Test(arguments: [ConnectionPolicy.Mode.quicOnly, .tcpOnly])
    func theLongestWorks(mode: ConnectionPolicy.Mode) async throws {
        let name = ApplicationProtocol(String(repeating: "é", count: 13))
        let made = try TLSIdentity.selfSigned()
        let listener = try await Listener.bind(
            to: .loopback(), applicationProtocol: name, tls: TLSServerConfiguration(identity: made.identity))
        let connector = try Connector(
            applicationProtocol: name,
            tls: TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM)),
            policy: ConnectionPolicy(mode))
        let port = try #require(listener.quicAddress.port)
        let connection = try await connector.connect(to: Endpoint(host: "127.0.0.1", port: port))
        #expect([name.quic, name.tls].contains(connection.applicationProtocol))
        await connection.close()
        await listener.close()
    }
}
