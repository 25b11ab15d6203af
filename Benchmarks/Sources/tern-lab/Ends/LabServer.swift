// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import NIOCore
internal import Synchronization
internal import Tern

/// The server of every scenario of ours: serves streams over both carriers until its standard input ends.
struct LabServer: Codable {
    /// The address to listen at, and what its certificate is for.
    var host: String
    /// The congestion controller of QUIC by name; `nil`: Tern's default.
    var congestionControl: String?
    /// Where qlog files go; `nil`: nowhere.
    var qlogDirectory: String?

    func play() async throws {
        let development = try TLSIdentity.selfSigned(for: [self.host])
        var tls = TLSServerConfiguration(identity: development.identity)
        tls.earlyData = TLSEarlyData()
        var quic = QUICOptions()
        quic.qlogDirectory = self.qlogDirectory
        if let congestionControl {
            guard let chosen = QUICOptions.CongestionControl(rawValue: congestionControl) else {
                throw BenchmarkError("no congestion control of QUIC is called \(congestionControl)")
            }
            quic.congestionControl = chosen
        }
        let listener = try await Listener.bind(
            to: Endpoint(host: self.host, port: 0), applicationProtocol: .lab, tls: tls, quic: quic)
        try tell(
            ServerReady(
                port: listener.quicAddress.port ?? 0,
                certificateAuthority: String(decoding: development.certificateAuthorityPEM, as: UTF8.self)))
        let publication = Publication()
        await withDiscardingTaskGroup { group in
            group.addTask {
                await listener.run { connection in await Self.serve(connection, publication) }
            }
            await untilInputEnds()
            await listener.close()
        }
    }

    private static func serve(_ connection: Connection, _ publication: Publication) async {
        await withDiscardingTaskGroup { group in
            do {
                for try await stream in connection.inboundStreams {
                    group.addTask { await Self.serve(stream, publication) }
                }
            } catch {
                // The client left.
            }
            // A subscription waits for messages that nobody may publish any more.
            group.cancelAll()
        }
    }

    private static func serve(_ stream: Tern.Stream, _ publication: Publication) async {
        do {
            var unread = ByteBuffer()
            var request = try StreamRequest(reading: &unread)
            while request == nil {
                guard var more = try await stream.read() else { return try await stream.finish() }
                unread.writeBuffer(&more)
                request = try StreamRequest(reading: &unread)
            }
            guard let request else { return }
            stream.setPriority(StreamPriority(urgency: request.urgency))
            switch request.command {
            case .echo: try await Self.echo(unread, on: stream)
            case .download: try await Self.send(request.count, on: stream)
            case .publish: try await Self.publish(unread, from: stream, to: publication)
            case .subscribe: try await publication.deliver(to: stream)
            }
        } catch {
            // As above: a trial may cut connections, and the client tells what that did.
        }
    }

    private static func echo(_ first: ByteBuffer, on stream: Tern.Stream) async throws {
        if first.readableBytes > 0 { try await stream.write(first) }
        while let bytes = try await stream.read() { try await stream.write(bytes) }
        try await stream.finish()
    }

    private static func send(_ count: UInt64, on stream: Tern.Stream) async throws {
        let piece = ByteBuffer(repeating: 0x61, count: 64 << 10)
        var left = count
        while left > 0 {
            let size = Int(min(left, UInt64(piece.readableBytes)))
            left -= UInt64(size)
            guard let bytes = piece.getSlice(at: piece.readerIndex, length: size) else { return }
            if left == 0 { return try await stream.finish(bytes) }
            try await stream.write(bytes)
        }
        try await stream.finish()
    }

    private static func publish(
        _ first: ByteBuffer, from stream: Tern.Stream, to publication: Publication
    ) async throws {
        var reader = MessageReader(stream, unread: first)
        while let message = try await reader.next() { publication.publish(message.bytes) }
        try await stream.finish()
    }
}

/// Hands every published message to every subscriber. A subscriber that does not keep up loses the oldest messages.
private final class Publication: Sendable {
    private let subscribers = Mutex<[Int: AsyncStream<ByteBuffer>.Continuation]>([:])
    private let nextNumber = Atomic<Int>(0)

    func publish(_ message: ByteBuffer) {
        let subscribers = self.subscribers.withLock { Array($0.values) }
        for subscriber in subscribers { subscriber.yield(message) }
    }

    func deliver(to stream: Tern.Stream) async throws {
        let number = self.nextNumber.wrappingAdd(1, ordering: .relaxed).newValue
        let (messages, continuation) = AsyncStream<ByteBuffer>.makeStream(bufferingPolicy: .bufferingNewest(4_096))
        self.subscribers.withLock { $0[number] = continuation }
        defer { _ = self.subscribers.withLock { $0.removeValue(forKey: number) } }
        // Says that from now on nothing is missed.
        try await stream.write(LabMessage(number: .max, size: LabMessage.minimumSize).bytes)
        for await message in messages { try await stream.write(message) }
    }
}
