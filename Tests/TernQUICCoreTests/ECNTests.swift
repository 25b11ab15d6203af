// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

/// RFC 9000, section 13.4.
@Suite("ECN")
struct ECNTests {
    /// Sends a megabyte over a path that does `change` to what goes to the server.
    ///
    /// - Returns: the codepoints that the client gave its datagrams, in order.
    private func codepoints(_ change: @escaping (Pair.Flight) -> Pair.Flight?) throws -> [ECN] {
        let pair = try Pair()
        var codepoints: [ECN] = []
        pair.network = { flight in
            guard flight.toServer else { return flight }
            codepoints.append(flight.ecn)
            return change(flight)
        }
        #expect(
            try pair.run(for: .seconds(30), until: { pair.client.isEstablished && pair.server.isEstablished }))
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        let bytes = pattern(1_000_000)
        try StreamTests.send(bytes, on: id, from: pair.client)
        #expect(try pair.run(for: .seconds(300), until: { pair.server.finished.contains(id) }))
        let isWhole = pair.server.received[id] == bytes
        #expect(isWhole)
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
        return codepoints
    }

    @Test("a path that keeps the codepoint is used with ECT(0) to the end")
    func capable() throws {
        let codepoints = try self.codepoints { $0 }
        #expect(codepoints.count > 500)
        #expect(codepoints.suffix(300).allSatisfy { $0 == .ect0 })
        #expect(!codepoints.contains(.ce) && !codepoints.contains(.ect1))
    }

    @Test("a path that clears the codepoint is found out, and no more packets are marked")
    func bleached() throws {
        let codepoints = try self.codepoints { flight in
            var flight = flight
            flight.ecn = .notECT
            return flight
        }
        #expect(codepoints.contains(.ect0), "it was tried")
        #expect(codepoints.count { $0 == .ect0 } <= 20)
        #expect(codepoints.suffix(300).allSatisfy { $0 == .notECT })
    }

    @Test("a path that turns ECT(0) into ECT(1) is found out")
    func mangled() throws {
        let codepoints = try self.codepoints { flight in
            var flight = flight
            if flight.ecn == .ect0 { flight.ecn = .ect1 }
            return flight
        }
        #expect(codepoints.count { $0 == .ect0 } <= 20)
        #expect(codepoints.suffix(300).allSatisfy { $0 == .notECT })
    }

    @Test("a path that drops marked packets costs time, not the connection")
    func dropped() throws {
        let codepoints = try self.codepoints { $0.ecn == .notECT ? $0 : nil }
        #expect(codepoints.count { $0 == .ect0 } <= 20)
        #expect(codepoints.suffix(300).allSatisfy { $0 == .notECT })
    }

    @Test("marks of congestion keep ECN in use")
    func congestion() throws {
        var count = 0
        let codepoints = try self.codepoints { flight in
            var flight = flight
            count += 1
            if flight.ecn == .ect0, count.isMultiple(of: 50) { flight.ecn = .ce }
            return flight
        }
        #expect(codepoints.suffix(300).allSatisfy { $0 == .ect0 })
    }
}
