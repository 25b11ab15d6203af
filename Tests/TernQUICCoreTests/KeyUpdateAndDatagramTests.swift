// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTransport
import Testing

@testable import TernQUICCore

@Suite("Key updates, datagram fates, qlog")
struct KeyUpdateAndDatagramTests {
    private func updates(of end: End) -> Int {
        end.events.count { if case .keysUpdated = $0 { true } else { false } }
    }

    private func fates(of end: End) -> [UInt64: DatagramFate] {
        var fates: [UInt64: DatagramFate] = [:]
        for case .datagramSettled(let tag, let fate) in end.events {
            #expect(fates[tag] == nil, "told once")
            fates[tag] = fate
        }
        return fates
    }

    @Test("keys change three times in the middle of a transfer, from either end, and no byte is lost")
    func keyUpdates() throws {
        let pair = try Pair()
        #expect(throws: TransportError.self, "not before the handshake is confirmed") {
            try pair.client.core?.updateKeys(now: pair.now)
        }
        try pair.establish()
        try pair.run(for: .milliseconds(200))
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        let bytes = pattern(6_000_000)
        try StreamTests.send(bytes, on: id, from: pair.client)
        pair.delay = .milliseconds(30)
        for round in 1...3 {
            let end = round == 2 ? pair.server : pair.client
            #expect(try pair.run(for: .seconds(10), until: { (try? end.core?.updateKeys(now: pair.now)) != nil }))
            #expect(throws: TransportError.self, "not before this one is confirmed") {
                try end.core?.updateKeys(now: pair.now)
            }
            #expect(
                try pair.run(
                    for: .seconds(10),
                    until: { self.updates(of: pair.client) == round && self.updates(of: pair.server) == round }))
        }
        #expect(try pair.run(for: .seconds(100), until: { pair.server.finished.contains(id) }))
        let isWhole = pair.server.received[id] == bytes
        #expect(isWhole)
        #expect(pair.client.closeReason == nil && pair.server.closeReason == nil)
    }

    @Test("each tagged datagram is told as acknowledged, lost or shed, once")
    func datagramFates() throws {
        let pair = try Pair()
        try pair.establish()
        try pair.run(for: .milliseconds(200))
        var count = 0
        pair.network = { flight in
            count += flight.toServer ? 1 : 0
            return flight.toServer && count % 3 == 0 ? nil : flight
        }
        for tag in 0..<30 as Range<UInt64> {
            let outcome = try pair.client.core?.sendDatagram(ByteBuffer(repeating: 7, count: 900), tag: tag)
            #expect(outcome == .accepted)
            try pair.run(for: .milliseconds(20))
        }
        _ = try pair.client.core?.sendDatagram(ByteBuffer(string: "nobody asks"))
        pair.network = nil
        try pair.run(for: .seconds(5))
        let fates = self.fates(of: pair.client)
        #expect(fates.count == 30)
        #expect(fates.values.count { $0 == .acknowledged } >= 15)
        #expect(fates.values.count { $0 == .lost } >= 5)
        #expect(pair.client.core?.datagramTags.isEmpty == true)
        let limit = UInt64(pair.client.core?.configuration.limits.bufferedDatagrams ?? 0)
        for tag in 100..<(105 + limit) {
            _ = try pair.client.core?.sendDatagram(ByteBuffer(repeating: 7, count: 900), tag: tag)
        }
        try pair.run(for: .seconds(5))
        let shed = self.fates(of: pair.client).filter { $0.value == .shed }.keys.sorted()
        #expect(shed == [100, 101, 102, 103, 104])
    }

    @Test("statistics and the path's size are told")
    func statistics() throws {
        let pair = try Pair()
        try pair.establish()
        let id = try #require(try pair.client.core?.openStream(.unidirectional))
        try StreamTests.send(pattern(500_000), on: id, from: pair.client)
        #expect(try pair.run(for: .seconds(100), until: { pair.server.finished.contains(id) }))
        let statistics = try #require(pair.client.core?.statistics())
        #expect(statistics.roundTripTimeVariation != nil)
        #expect((statistics.pathMaximumSize ?? 0) > 1400)
        #expect((statistics.deliveryRate ?? 0) > 10_000)
        let sizes = pair.client.events.compactMap { if case .pathMTUChanged(let size) = $0 { size } else { nil } }
        #expect(sizes.last == statistics.pathMaximumSize.map { Int($0) })
        #expect(sizes == sizes.sorted())
    }

    @Test("both ends write a qlog that names the connection")
    func qlog() throws {
        let (client, server) = (QlogText(), QlogText())
        let pair = try Pair(qlog: (client, server))
        #expect(client.proofs == 1)
        try pair.run(until: { server.original != nil })
        #expect(server.proofs == 0, "a first packet proves nothing")
        try pair.establish()
        #expect(client.proofs == 1 && server.proofs == 1)
        try pair.run(for: .milliseconds(100))
        pair.client.core?.close(code: 0, reason: "")
        try pair.run(for: .seconds(2))
        #expect(client.original != nil && client.original == server.original)
        #expect(client.role == .client && server.role == .server)
        for (text, vantage) in [(client.text, "client"), (server.text, "server")] {
            // RFC 7464: each record begins with a record separator and ends with a line feed.
            let records = text.split(separator: "\u{1e}")
            #expect(records.count > 10)
            #expect(records.allSatisfy { $0.hasPrefix("{") && $0.hasSuffix("}\n") })
            let header = try #require(records.first)
            #expect(header.contains("\"qlog_format\":\"JSON-SEQ\""))
            #expect(header.contains("\"vantage_point\""))
            #expect(header.contains("\"type\":\"\(vantage)\""))
            #expect(header.contains(client.original.map { "\($0)" } ?? "?"))
            #expect(text.contains("packet_sent") && text.contains("packet_received"))
        }
    }
}

/// A qlog in memory.
final class QlogText: QUICQlogSink, @unchecked Sendable {
    var text = ""
    var original: QUICConnectionID?
    var role: ConnectionRole?
    var proofs = 0

    func peerIsProven() { self.proofs += 1 }

    func begin(_ original: QUICConnectionID, role: ConnectionRole) {
        self.original = original
        self.role = role
    }

    func write(_ bytes: UnsafeRawBufferPointer) {
        self.text += String(decoding: bytes, as: UTF8.self)
    }
}
