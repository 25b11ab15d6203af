// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import QUICPacketSupport
import TernTransport
import Testing

@testable import TernQUICCore

/// What each frame of RFC 9000 and RFC 9221 is answered with where it may not stand.
@Suite("The verdict on each frame")
struct FrameVerdictTests {
    @Test(
        "A frame that may not stand there ends the connection with the code of the RFC",
        arguments: FrameVerdict.forbidden)
    func forbidden(verdict: FrameVerdict) throws {
        for victim in verdict.victims {
            let reason = try self.reason(verdict, against: victim)
            let code = try #require(reason?.wireCode, "\(victim): \(verdict) was taken, \(reason as Any)")
            #expect(
                verdict.codes.contains(code), "\(victim): \(verdict) was answered with 0x\(String(code, radix: 16))")
            #expect(reason?.code == .transport && reason?.initiator != .peer)
        }
    }

    /// Before the client answered the flight that the handshake ends with: ngtcp2 must see such frames behind that answer only.
    @Test(
        "The same in a server's first flight",
        arguments: FrameVerdict.forbidden.filter(\.isOfFirstFlight), HostileServerTests.Moment.allCases)
    func early(verdict: FrameVerdict, moment: HostileServerTests.Moment) throws {
        let attack = try HostileServerTests.Attack(moment, verdict.frames(FrameVerdict.Streams(victim: .client)))
        try attack.pair.run(for: .seconds(5), until: { attack.pair.client.closeReason != nil })
        let reason = try #require(attack.pair.client.closeReason, "\(verdict) was taken")
        #expect(reason.wireCode.map { verdict.codes.contains($0) } == true, "\(verdict): \(reason)")
    }

    @Test("A frame that ngtcp2 need not look at does no harm", arguments: FrameVerdict.ignored)
    func ignored(verdict: FrameVerdict) throws {
        for victim in verdict.victims {
            guard let code = try self.reason(verdict, against: victim)?.wireCode else { continue }
            #expect(verdict.codes.contains(code), "\(victim): \(verdict)")
        }
    }

    @Test("A frame that looks odd and is allowed does no harm", arguments: FrameVerdict.allowed)
    func allowed(verdict: FrameVerdict) throws {
        for victim in verdict.victims {
            let reason = try self.reason(verdict, against: victim)
            #expect(reason == nil, "\(victim): \(verdict)")
        }
    }

    /// What TLS says after the handshake (RFC 9001, sections 4.4 and 6), in frames that end anywhere.
    @Test(
        "A message of TLS that may not be said over QUIC ends the connection",
        arguments: [
            [[24, 0, 0, 1, 0]], [[24, 0, 0, 1, 1]], [[24], [0, 0, 1, 0]], [[24, 0, 0], [1, 0]],
            [[13, 0, 0, 3, 0, 0, 0]], [[11, 0, 0, 0]], [[20, 0, 0, 0]], [[1, 0, 0, 0]], [[255, 255, 255, 255]],
        ] as [[[UInt8]]])
    func messagesOfTLS(pieces: [[UInt8]]) throws {
        let frames = pieces.reduce(into: (frames: QUICFrames(), offset: UInt64(0))) { result, piece in
            result.frames.frame(0x06, result.offset, UInt64(piece.count))
            result.frames.raw(piece)
            result.offset += UInt64(piece.count)
        }.frames
        for victim in [ConnectionRole.client, .server] {
            let peer = try KeyedPeer(against: victim, sendsTickets: false)
            peer.hear()
            try peer.say(frames)
            #expect(peer.end.closeReason?.wireCode == 0x10a, "\(victim): \(peer.end.closeReason as Any)")
            #expect(peer.end.closeReason?.initiator == .local)
        }
        for moment in HostileServerTests.Moment.allCases {
            let attack = try HostileServerTests.Attack(moment, frames)
            try attack.pair.run(for: .seconds(5), until: { attack.pair.client.closeReason != nil })
            #expect(attack.pair.client.closeReason?.wireCode == 0x10a, "\(moment)")
        }
    }

    private func reason(_ verdict: FrameVerdict, against victim: ConnectionRole) throws -> TransportError? {
        var limits = ConnectionLimits()
        limits.streamWindow = 10_000
        limits.connectionWindow = 15_000
        limits.bidirectionalStreams = 4
        limits.unidirectionalStreams = 4
        let peer = try KeyedPeer(against: victim, limits: limits, growsWindows: false)
        peer.end.consumes = false
        for direction in StreamDirection.allCases {
            let stream = try #require(try peer.core.openStream(direction))
            _ = try peer.core.write(ByteBuffer(bytes: [1, 2, 3]), to: stream, finish: false)
        }
        peer.hear()
        let streams = FrameVerdict.Streams(victim: victim)
        for packet in verdict.before(streams) {
            try peer.say(packet)
            try #require(peer.end.closeReason == nil, "\(victim): before \(verdict), \(peer.end.closeReason as Any)")
        }
        try peer.say(verdict.frames(streams))
        return peer.end.closeReason
    }
}

/// A frame, what comes before it, and what a victim must say.
struct FrameVerdict: Sendable, CustomTestStringConvertible, CustomStringConvertible {
    /// The streams of a connection as a hostile peer sees them.
    struct Streams {
        let victim: ConnectionRole
        private var peer: ConnectionRole { self.victim == .server ? .client : .server }

        /// The victim has opened the first of each of its own, the peer may open four of each.
        func own(_ direction: StreamDirection, _ index: UInt64 = 0) -> UInt64 {
            StreamID(index: index, initiator: self.victim, direction: direction).rawValue
        }
        func peers(_ direction: StreamDirection, _ index: UInt64 = 0) -> UInt64 {
            StreamID(index: index, initiator: self.peer, direction: direction).rawValue
        }

        init(victim: ConnectionRole) {
            self.victim = victim
        }
    }

    let description: String
    var victims: [ConnectionRole] = [.server, .client]
    var before: @Sendable (Streams) -> [QUICFrames] = { _ in [] }
    let codes: Set<UInt64>
    let frames: @Sendable (Streams) -> QUICFrames

    /// Needs nothing that is said or opened before, and no window of its own.
    var isOfFirstFlight: Bool {
        let nothing = self.before(Streams(victim: .client)).isEmpty
        return nothing && self.victims.contains(.client) && self.codes.isDisjoint(with: [Self.flow, Self.limit])
    }

    var testDescription: String { self.description }

    init(
        _ description: String, _ victims: [ConnectionRole] = [.server, .client], _ codes: UInt64...,
        before: @escaping @Sendable (inout QUICFrames, Streams) -> Void = { _, _ in },
        frames: @escaping @Sendable (inout QUICFrames, Streams) -> Void
    ) {
        self.description = description
        self.victims = victims
        self.codes = Set(codes)
        self.before = { streams in
            var packet = QUICFrames()
            before(&packet, streams)
            return packet.count > 0 ? [packet] : []
        }
        self.frames = { streams in
            var packet = QUICFrames()
            frames(&packet, streams)
            return packet
        }
    }

    private static let most: UInt64 = (1 << 62) - 1
    private static let flow = TransportErrorCode.flowControlError
    private static let limit = TransportErrorCode.streamLimitError
    private static let state = TransportErrorCode.streamStateError
    private static let final = TransportErrorCode.finalSizeError
    private static let encoding = TransportErrorCode.frameEncodingError
    private static let violation = TransportErrorCode.protocolViolation
    private static let both: [ConnectionRole] = [.server, .client]

    static let forbidden = streams + resets + credit + identifiers + others

    // MARK: RFC 9000, section 19.8: STREAM

    private static let streams = [
        Self("STREAM of a stream that only the victim sends on", both, state) {
            $0.stream($1.own(.unidirectional), at: 0, [1])
        },
        Self("STREAM of a stream that the victim has not opened", both, state) {
            $0.stream($1.own(.bidirectional, 5), at: 0, [1])
        },
        Self("STREAM of a one-way stream that the victim has not opened", both, state) {
            $0.stream($1.own(.unidirectional, 5), at: 0, [1])
        },
        Self("STREAM beyond the limit of streams", both, limit) { $0.stream($1.peers(.bidirectional, 4), at: 0, [1]) },
        Self("STREAM beyond the limit of one-way streams", both, limit) {
            $0.stream($1.peers(.unidirectional, 4), at: 0, [1])
        },
        Self("STREAM beyond the window of the stream", both, flow) {
            $0.stream($1.peers(.bidirectional), at: 9_999, [1, 2])
        },
        Self(
            "STREAM beyond the window of the connection", both, flow,
            before: { $0.stream($1.peers(.unidirectional), at: 9_000, [1]) }
        ) { $0.stream($1.peers(.bidirectional), at: 5_999, [1]) },
        Self("STREAM behind the largest offset that there is", both, encoding, flow) {
            $0.stream($1.peers(.bidirectional), at: most, [1])
        },
        Self(
            "STREAM behind the end", both, final,
            before: { $0.stream($1.peers(.bidirectional), at: 0, [1, 2], finishes: true) }
        ) {
            $0.stream($1.peers(.bidirectional), at: 2, [3])
        },
        Self(
            "STREAM with another end", both, final,
            before: { $0.stream($1.peers(.bidirectional), at: 0, [1, 2], finishes: true) }
        ) {
            $0.stream($1.peers(.bidirectional), at: 0, [1], finishes: true)
        },
        Self(
            "STREAM with an end before what came", both, final,
            before: { $0.stream($1.peers(.bidirectional), at: 5, [1, 2]) }
        ) {
            $0.stream($1.peers(.bidirectional), at: 0, [1], finishes: true)
        },
        Self("STREAM that is cut off", both, encoding) { $0.frame(0x0e, $1.peers(.bidirectional), 0, 100) },
    ]

    // MARK: Sections 19.4 and 19.5: RESET_STREAM and STOP_SENDING

    private static let resets = [
        // A generic code may always stand for a specific one (section 11).
        Self("RESET_STREAM of a stream that only the victim sends on", both, state, violation) {
            $0.reset($1.own(.unidirectional), code: 1, finalSize: 0)
        },
        Self("RESET_STREAM of a stream that the victim has not opened", both, state) {
            $0.reset($1.own(.bidirectional, 5), code: 1, finalSize: 0)
        },
        Self("RESET_STREAM beyond the limit of streams", both, limit) {
            $0.reset($1.peers(.bidirectional, 4), code: 1, finalSize: 0)
        },
        Self("RESET_STREAM beyond the window of the stream", both, flow) {
            $0.reset($1.peers(.unidirectional), code: 1, finalSize: 10_001)
        },
        Self(
            "RESET_STREAM beyond the window of the connection", both, flow,
            before: { $0.stream($1.peers(.unidirectional), at: 9_000, [1]) }
        ) { $0.reset($1.peers(.bidirectional), code: 1, finalSize: 6_000) },
        Self(
            "RESET_STREAM before what came", both, final,
            before: { $0.stream($1.peers(.bidirectional), at: 5, [1, 2]) }
        ) {
            $0.reset($1.peers(.bidirectional), code: 1, finalSize: 3)
        },
        Self(
            "RESET_STREAM with another end", both, final,
            before: { $0.stream($1.peers(.bidirectional), at: 0, [1, 2], finishes: true) }
        ) { $0.reset($1.peers(.bidirectional), code: 1, finalSize: 3) },
        Self(
            "STOP_SENDING of a stream that only the peer sends on", both, state,
            before: { $0.stream($1.peers(.unidirectional), at: 0, [1]) }
        ) { $0.stop($1.peers(.unidirectional), code: 1) },
        Self("STOP_SENDING of a stream that the victim has not opened", both, state) {
            $0.stop($1.own(.bidirectional, 5), code: 1)
        },
        Self("STOP_SENDING beyond the limit of streams", both, limit) { $0.stop($1.peers(.bidirectional, 4), code: 1) },
        // The extension is not negotiated over QUIC: an unknown frame (section 12.4).
        Self("RESET_STREAM_AT", both, encoding, before: { $0.stream($1.peers(.bidirectional), at: 0, [1]) }) {
            $0.frame(0x24, $1.peers(.bidirectional), 1, 1, 1)
        },
    ]

    // MARK: Sections 19.9 to 19.14: credit

    private static let credit = [
        Self(
            "MAX_STREAM_DATA of a stream that only the peer sends on", both, state,
            before: { $0.stream($1.peers(.unidirectional), at: 0, [1]) }
        ) { $0.frame(0x11, $1.peers(.unidirectional), 1000) },
        Self("MAX_STREAM_DATA of a stream that the victim has not opened", both, state) {
            $0.frame(0x11, $1.own(.bidirectional, 5), 1000)
        },
        Self("MAX_STREAM_DATA beyond the limit of streams", both, limit) {
            $0.frame(0x11, $1.peers(.bidirectional, 4), 1000)
        },
        Self("MAX_STREAMS of more streams than there are", both, encoding) { frames, _ in
            frames.frame(0x12, 1 << 60 + 1)
        },
        Self("MAX_STREAMS of more one-way streams than there are", both, encoding) { frames, _ in
            frames.frame(0x13, 1 << 60 + 1)
        },
        Self("STREAMS_BLOCKED at more streams than there are", both, encoding, limit) { frames, _ in
            frames.frame(0x16, 1 << 60 + 1)
        },
    ]

    // MARK: Sections 19.15 to 19.18: connection IDs and paths

    private static let identifiers = [
        Self("NEW_CONNECTION_ID that retires later ones", both, encoding) { frames, _ in
            frames.newConnectionID(20, retirePriorTo: 21)
        },
        Self("NEW_CONNECTION_ID without bytes", both, encoding) { frames, _ in
            frames.newConnectionID(20, retirePriorTo: 0, size: 0)
        },
        Self("NEW_CONNECTION_ID that is too long", both, encoding) { frames, _ in
            frames.newConnectionID(20, retirePriorTo: 0, size: 21)
        },
        Self(
            "NEW_CONNECTION_ID with a known number", both, violation,
            before: { frames, _ in frames.newConnectionID(20, retirePriorTo: 20) }
        ) { frames, _ in frames.newConnectionID(20, retirePriorTo: 20, seed: 9) },
        Self("NEW_CONNECTION_ID beyond the limit", both, 0x9) { frames, _ in
            for number in 20..<40 as Range<UInt64> { frames.newConnectionID(number, retirePriorTo: 0) }
        },
        Self("RETIRE_CONNECTION_ID of one that was never given", both, violation) { frames, _ in
            frames.retireConnectionID(100)
        },
    ]

    // MARK: Everything else

    private static let others = [
        Self("HANDSHAKE_DONE at a server", [.server], violation) { frames, _ in frames.handshakeDone() },
        Self("NEW_TOKEN at a server", [.server], violation) { frames, _ in
            frames.frame(0x07, 4)
            frames.raw([1, 2, 3, 4])
        },
        Self("NEW_TOKEN without bytes", [.client], encoding) { frames, _ in frames.frame(0x07, 0) },
        Self("CRYPTO behind what is kept", both, 0xd) { frames, _ in
            frames.frame(0x06, 1 << 20, 1)
            frames.raw([0])
        },
        Self("CRYPTO behind the largest offset that there is", both, encoding, 0xd) { frames, _ in
            frames.frame(0x06, most, 1)
            frames.raw([0])
        },
        Self("ACK of a packet that was never sent", both, violation) { frames, _ in
            frames.acknowledgement(upTo: 1_000_000, range: 0)
        },
        // In the first flight it is of packets that were never sent, too.
        Self("ACK of packets before the first", both, encoding, violation) { frames, _ in
            frames.acknowledgement(upTo: 1, range: 5)
        },
        Self("ACK that is cut off", both, encoding) { frames, _ in frames.frame(0x02, 1, 0, 9, 0) },
        Self("An unknown frame", both, encoding) { frames, _ in frames.frame(0x21) },
        Self("A packet without frames", both, violation) { _, _ in },
        // RFC 9221, section 3. The largest that this end says it takes is 65535.
        Self("DATAGRAM that is cut off", both, encoding) { frames, _ in frames.frame(0x31, 1000) },
    ]

    /// What ngtcp2 does not look at (0.12), or refuses (1.x): it changes nothing either way.
    static let ignored = [
        Self("STREAM_DATA_BLOCKED of a stream that only the victim sends on", both, state) {
            $0.frame(0x15, $1.own(.unidirectional), 0)
        },
        Self("STREAM_DATA_BLOCKED of a stream that the victim has not opened", both, state) {
            $0.frame(0x15, $1.own(.bidirectional, 5), 0)
        },
        Self("STREAM_DATA_BLOCKED beyond the limit of streams", both, limit) {
            $0.frame(0x15, $1.peers(.bidirectional, 4), 0)
        },
    ]

    /// What is odd and allowed.
    static let allowed = [
        Self("HANDSHAKE_DONE once more", [.client]) { frames, _ in frames.handshakeDone() },
        Self("PATH_RESPONSE that nobody asked for") { frames, _ in frames.pathResponse(9) },
        Self("STREAM, empty, at the limit of the window") { $0.stream($1.peers(.bidirectional), at: 10_000, []) },
        Self(
            "STREAM over again, with its end", both,
            before: { $0.stream($1.peers(.bidirectional), at: 0, [1], finishes: true) }
        ) {
            $0.stream($1.peers(.bidirectional), at: 0, [1], finishes: true)
        },
        Self(
            "RESET_STREAM behind the end", both,
            before: { $0.stream($1.peers(.bidirectional), at: 0, [1], finishes: true) }
        ) {
            $0.reset($1.peers(.bidirectional), code: 1, finalSize: 1)
        },
        Self("STOP_SENDING of a stream that the peer opens with it") { $0.stop($1.peers(.bidirectional), code: 1) },
        Self("MAX_STREAM_DATA of a stream that the peer opens with it") { $0.frame(0x11, $1.peers(.bidirectional), 1) },
        Self("MAX_DATA and MAX_STREAMS that fall") { frames, _ in
            frames.frame(0x10, 0)
            frames.frame(0x12, 0)
        },
        Self("DATA_BLOCKED and STREAMS_BLOCKED") { frames, _ in
            frames.frame(0x14, 1)
            frames.frame(0x16, 4)
            frames.frame(0x17, 4)
        },
        Self("DATAGRAM without bytes") { frames, _ in frames.datagram([]) },
        Self(
            "NEW_CONNECTION_ID over again", both, before: { frames, _ in frames.newConnectionID(20, retirePriorTo: 20) }
        ) {
            frames, _ in frames.newConnectionID(20, retirePriorTo: 20)
        },
        Self("PING and padding") { frames, _ in
            frames.ping()
            frames.raw([0, 0, 0])
        },
    ]
}
