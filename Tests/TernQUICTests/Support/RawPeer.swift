// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import Foundation
import NIOCore
import NIOPosix
import TernTLS
import TernTransport

@testable import TernQUICCore

/// Sends datagrams that no honest client sends, and counts what comes back.
final class RawPeer: Sendable {
    private let channel: any Channel
    private let server: SocketAddress
    private let answers = NIOLockedBox<(count: Int, bytes: Int)>((0, 0))

    private init(channel: any Channel, server: SocketAddress, answers: NIOLockedBox<(count: Int, bytes: Int)>) {
        self.channel = channel
        self.server = server
        self.answers.value = answers.value
    }

    /// - Parameter host: the address that the datagrams claim to come from; all of 127.0.0.0/8 is ours.
    static func with<Result>(
        from host: String = "127.0.0.1", to server: SocketAddress, _ body: (RawPeer) async throws -> Result
    ) async throws -> Result {
        let peer = try await Self.open(from: host, to: server)
        do {
            let result = try await body(peer)
            try await peer.channel.close().get()
            return result
        } catch {
            try? await peer.channel.close().get()
            throw error
        }
    }

    private static func open(from host: String, to server: SocketAddress) async throws -> RawPeer {
        let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.socketOption(.so_sndbuf), value: 4 << 20)
            .channelOption(.socketOption(.so_rcvbuf), value: 4 << 20)
            .bind(host: host, port: 0).get()
        let peer = RawPeer(channel: channel, server: server, answers: NIOLockedBox((0, 0)))
        try await channel.pipeline.addHandler(AnswerCounter(peer.answers)).get()
        return peer
    }

    /// Sends all of them; waits until the kernel took them.
    func send(_ datagrams: some Sequence<ByteBuffer>) async throws {
        var last: EventLoopFuture<Void>?
        for datagram in datagrams {
            last = self.channel.write(AddressedEnvelope(remoteAddress: self.server, data: datagram))
        }
        self.channel.flush()
        try await last?.get()
    }

    /// What came back.
    var answered: (count: Int, bytes: Int) { self.answers.value }
}

private final class AnswerCounter: ChannelInboundHandler, Sendable {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    private let answers: NIOLockedBox<(count: Int, bytes: Int)>

    init(_ answers: NIOLockedBox<(count: Int, bytes: Int)>) {
        self.answers = answers
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = self.unwrapInboundIn(data).data.readableBytes
        self.answers.update { $0 = ($0.count + 1, $0.bytes + bytes) }
    }
}

/// Datagrams for floods.
enum RawDatagram {
    /// A client's first packet that makes sense in all respects.
    static func initial(to server: SocketAddress) throws -> ByteBuffer {
        let ids = QUICConnectionIDSource(length: QUICConnectionID.clientLength, resetSecret: QUICResetSecret())
        let path = QUICPath(local: try SocketAddress(ipAddress: "127.0.0.1", port: 1), remote: server)
        let session = try TLSClientContext(TestTLS.client()).makeSession(
            for: .quic, applicationProtocols: [testProtocol], serverName: "localhost")
        let core = try QUICConnectionCore.client(
            configuration: QUICConfiguration(connectionIDs: ids), tls: session, path: path, now: .now())
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)
        defer { buffer.deallocate() }
        let transmit = core.nextTransmit(into: buffer, now: .now())
        return ByteBuffer(bytes: buffer[..<(transmit?.segmentSize ?? 0)])
    }

    /// The header of an Initial, and then noise that nobody can decrypt.
    static func noise(number: UInt64, token: [UInt8] = []) -> ByteBuffer {
        var packet = ByteBuffer(bytes: [0xc3, 0, 0, 0, 1, 8])
        packet.writeInteger(number &* 0x9e37_79b9_7f4a_7c15)
        packet.writeInteger(UInt8(8))
        packet.writeInteger(number)
        // Two-byte varints for both lengths.
        packet.writeInteger(0x4000 | UInt16(token.count))
        packet.writeBytes(token)
        packet.writeInteger(0x4000 | UInt16(1200 - packet.readableBytes - 2))
        packet.writeRepeatingByte(UInt8(truncatingIfNeeded: number), count: 1200 - packet.readableBytes)
        return packet
    }

    /// An unknown version.
    static func strangeVersion(number: UInt32) -> ByteBuffer {
        var packet = ByteBuffer(bytes: [0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8])
        packet.writeInteger(UInt64(number))
        packet.writeBytes([4, 9, 9, 9, 9])
        packet.writeRepeatingByte(0, count: 1200 - packet.readableBytes)
        return packet
    }

    /// A short header of a connection that the server knows nothing of.
    static func unknownConnection(number: UInt32, node: UInt16 = 0) -> ByteBuffer {
        var packet = ByteBuffer(bytes: [0x40, UInt8(node >> 8), UInt8(truncatingIfNeeded: node), 0])
        packet.writeInteger(number)
        packet.writeRepeatingByte(1, count: 100 - packet.readableBytes)
        return packet
    }
}

/// What this process holds and has used.
enum Consumption {
    /// A sanitizer (Scripts/sanitize) takes a multiple of both.
    static let isDistorted = ProcessInfo.processInfo.environment["TERN_SANITIZER"] != nil

    /// Resident memory in bytes.
    static var memory: Int {
        let fields = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8))?.split(separator: " ") ?? []
        return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * Int(getpagesize())
    }

    /// Processor time of the calling thread.
    static var processor: TimeAmount {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return .seconds(Int64(time.tv_sec)) + .nanoseconds(Int64(time.tv_nsec))
    }
}
