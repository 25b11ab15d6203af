// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Tern
import Testing

@Suite("Endpoints as text")
struct EndpointTests {
    @Test(arguments: [
        ("example.org:4433", "example.org", 4433), ("192.0.2.1:0", "192.0.2.1", 0),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("[::]:443", "::", 443),
    ])
    func readsAndWrites(text: String, host: String, port: Int) throws {
        let endpoint = try #require(Endpoint(text))
        #expect(endpoint.host == host)
        #expect(endpoint.port == port)
        #expect("\(endpoint)" == text)
    }

    @Test(arguments: [
        "", "example.org", ":443", "example.org:", "example.org:65536", "example.org:-1", "::1:443", "[]:443", "a:b",
    ])
    func refuses(text: String) {
        #expect(Endpoint(text) == nil)
    }
}
