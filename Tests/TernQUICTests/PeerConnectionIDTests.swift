// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CTernSystem
import Testing

/// ngtcp2 before 1.10 ends the process when it hears of a retired connection ID twice.
@Suite("Connection IDs of the peer")
struct PeerConnectionIDTests {
    private static func begun() -> tern_quic_peer_cids {
        var cids = tern_quic_peer_cids()
        tern_quic_begin_cids(&cids)
        return cids
    }

    @Test("a retired one is heard of once")
    func repeated() {
        var cids = Self.begun()
        for number: UInt64 in [1, 2, 4] { #expect(tern_quic_takes_cid(&cids, number, 0)) }
        #expect(tern_quic_takes_cid(&cids, 2, 0), "what is not retired may come again")
        #expect(tern_quic_takes_cid(&cids, 10, 10))
        for number: UInt64 in [0, 1, 2, 4] { #expect(!tern_quic_takes_cid(&cids, number, 0), "\(number)") }
        #expect(tern_quic_takes_cid(&cids, 3, 0), "it was overtaken, and must be retired")
        #expect(!tern_quic_takes_cid(&cids, 3, 0))
        #expect(tern_quic_takes_cid(&cids, 10, 10))
    }

    @Test("numbers far apart, and frames that break the rules")
    func farApart() {
        var cids = Self.begun()
        #expect(tern_quic_takes_cid(&cids, 50_000, 50_000))
        #expect(!tern_quic_takes_cid(&cids, 40_000, 0))
        #expect(tern_quic_takes_cid(&cids, 49_999, 0))
        #expect(!tern_quic_takes_cid(&cids, 49_999, 0))
        #expect(tern_quic_takes_cid(&cids, 1 << 62 - 1, 0))
        #expect(!tern_quic_takes_cid(&cids, 50_000, 50_000), "too long ago to be known")
        #expect(tern_quic_takes_cid(&cids, 5, 6), "ngtcp2 refuses it")
    }

    @Test("whether there is one to spare")
    func spare() {
        var cids = Self.begun()
        #expect(!tern_quic_has_spare_cid(&cids))
        #expect(tern_quic_takes_cid(&cids, 1, 0))
        #expect(tern_quic_has_spare_cid(&cids))
        tern_quic_note_used_cid(&cids, 1)
        #expect(!tern_quic_has_spare_cid(&cids))
        #expect(tern_quic_takes_cid(&cids, 2, 0))
        #expect(tern_quic_takes_cid(&cids, 3, 3))
        tern_quic_note_used_cid(&cids, 3)
        #expect(!tern_quic_has_spare_cid(&cids), "2 is retired")
        tern_quic_note_given_cid(&cids, 4)
        #expect(tern_quic_takes_cid(&cids, 100, 0))
        tern_quic_note_used_cid(&cids, 100)
        #expect(tern_quic_has_spare_cid(&cids), "4 is out of sight, and may be unused")
    }
}
