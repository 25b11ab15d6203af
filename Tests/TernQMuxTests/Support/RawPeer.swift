// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore
import NIOPosix
import TernTransport

@testable import TernQMux
@testable import TernQMuxCore
@testable import TernTLS

#if canImport(Glibc)
import Glibc
#endif

/// A TCP peer without QMux, with or without TLS, that sends what a test tells it and keeps what comes.
///
/// Confined to its event loop, hence `@unchecked Sendable`.
final class RawPeer: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Completes when the connection is gone.
    let ended: EventLoopFuture<Void>
    /// Completes when TLS is done, or at once without TLS.
    let ready: EventLoopFuture<Void>
    private let endedPromise: EventLoopPromise<Void>
    private let readyPromise: EventLoopPromise<Void>
    private let tls: TLSStream?
    private var context: ChannelHandlerContext?
    private var plaintext = ByteBuffer()
    private var heardEnd = false

    init(tls: TLSStream?, eventLoop: any EventLoop) {
        self.tls = tls
        self.endedPromise = eventLoop.makePromise()
        self.readyPromise = eventLoop.makePromise()
        self.ended = self.endedPromise.futureResult
        self.ready = self.readyPromise.futureResult
    }

    /// A client.
    ///
    /// - Parameter host: where it comes from; `nil` lets the kernel choose.
    static func connect(to address: SocketAddress, tls: Bool, from host: String? = nil) async throws -> RawPeer {
        let local = try host.map { try SocketAddress(ipAddress: $0, port: 0) }
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let peer = try await eventLoop.submit {
            let session =
                try tls
                ? TLSClientContext(TestTLS.client()).makeSession(
                    for: .stream, applicationProtocols: [testProtocol], serverName: "localhost") : nil
            return RawPeer(tls: session.map { TLSStream(session: $0) }, eventLoop: eventLoop)
        }.get()
        var bootstrap = ClientBootstrap(group: eventLoop)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(peer) }
            }
        if let local { bootstrap = bootstrap.bind(to: local) }
        _ = try await bootstrap.connect(to: address).get()
        try await peer.ready.get()
        return peer
    }

    /// A server; `onPeer` hears of each connection, on its event loop. The channel is the caller's to close.
    static func listen(tls: Bool, onPeer: @escaping @Sendable (RawPeer) -> Void) async throws -> any Channel {
        let context = try TLSServerContext(TestTLS.server())
        return try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let session =
                        try tls
                        ? context.makeSession(for: .stream, applicationProtocols: [testProtocol]) : nil
                    let peer = RawPeer(tls: session.map { TLSStream(session: $0) }, eventLoop: channel.eventLoop)
                    try channel.pipeline.syncOperations.addHandler(peer)
                    onPeer(peer)
                }
            }
            .bind(to: SocketAddress(ipAddress: "127.0.0.1", port: 0)).get()
    }

    /// What came so far, decrypted.
    func received() async throws -> ByteBuffer {
        try await self.ended.eventLoop.submit { self.plaintext }.get()
    }

    /// Whether the peer shut down its side cleanly: close_notify over TLS, end of file without.
    func heardCleanEnd() async throws -> Bool {
        try await self.ended.eventLoop.submit { self.heardEnd }.get()
    }

    /// Whether the peer's side is shut down, in whatever way.
    func isOver() async throws -> Bool {
        try await self.ended.eventLoop.submit { self.heardEnd || self.context == nil }.get()
    }

    func send(_ bytes: [UInt8]) {
        self.ended.eventLoop.execute {
            guard let tls = self.tls else {
                self.context?.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
                return
            }
            try? tls.write(ByteBuffer(bytes: bytes))
            self.flush()
        }
    }

    /// Bytes as they are, behind or without TLS; returns when the kernel has them.
    func sendUnencrypted(_ bytes: ByteBuffer) async throws {
        try await self.ended.eventLoop.flatSubmit { () -> EventLoopFuture<Void> in
            guard let context = self.context else { return self.ended.eventLoop.makeFailedFuture(ChannelError.eof) }
            let promise = context.eventLoop.makePromise(of: Void.self)
            context.writeAndFlush(self.wrapOutboundOut(bytes), promise: promise)
            return promise.futureResult
        }.get()
    }

    /// close_notify, without FIN.
    func sayGoodbye() {
        self.ended.eventLoop.execute {
            self.tls?.close()
            self.flush()
        }
    }

    func stopReading() async throws {
        try await self.ended.eventLoop.flatSubmit { () -> EventLoopFuture<Void> in
            self.context?.channel.setOption(.autoRead, value: false) ?? self.ended.eventLoop.makeSucceededVoidFuture()
        }.get()
    }

    /// FIN, after a close_notify if `clean`.
    func shutDown(clean: Bool) {
        self.ended.eventLoop.execute {
            if clean { self.tls?.close() }
            self.flush()
            self.context?.close(mode: .output, promise: nil)
        }
    }

    func close() {
        self.ended.eventLoop.execute { self.context?.close(promise: nil) }
    }

    /// RST: what a process that dies with unread bytes leaves.
    func kill() {
        self.ended.eventLoop.execute {
            guard let channel = self.context?.channel else { return }
            let immediately = linger(l_onoff: 1, l_linger: 0)
            _ = (channel as? any SocketOptionProvider)?.setSoLinger(immediately).always { _ in
                channel.close(promise: nil)
            }
        }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        self.advance()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = self.unwrapInboundIn(data)
        guard let tls else {
            self.plaintext.writeBuffer(&bytes)
            return
        }
        tls.receive(bytes)
        self.advance()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .some(ChannelEvent.inputClosed) = event as? ChannelEvent, self.tls == nil else { return }
        self.heardEnd = true
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        self.readyPromise.fail(ChannelError.eof)
        self.endedPromise.succeed()
    }

    private func advance() {
        guard let tls else { return self.readyPromise.succeed() }
        do {
            if try tls.handshake() {
                self.readyPromise.succeed()
                var outcome = TLSStream.ReadOutcome.bytes
                while case .bytes = outcome { outcome = try tls.read(into: &self.plaintext, limit: 1 << 20) }
                if case .closed = outcome { self.heardEnd = true }
            }
        } catch {
            self.readyPromise.fail(error)
        }
        self.flush()
    }

    private func flush() {
        guard let bytes = self.tls?.takeCiphertext() else { return }
        self.context?.writeAndFlush(self.wrapOutboundOut(bytes), promise: nil)
    }
}

/// Bytes of QMux, written by hand (draft-ietf-quic-qmux-02).
enum Wire {
    /// One record with QX_TRANSPORT_PARAMETERS and an empty list.
    static let emptyParameters: [UInt8] = [0x09, 0xff, 0x51, 0x53, 0x30, 0x0d, 0x0a, 0x0d, 0x0a, 0x00]

    /// One record with QX_TRANSPORT_PARAMETERS.
    static func parameters(_ limits: ConnectionLimits) -> [UInt8] {
        var frames = ByteBuffer()
        QMuxFrame.transportParameters(QMuxTransportParameters(limits).encoded()).write(to: &frames)
        return Self.record(Array(frames.readableBytesView))
    }

    static func record(_ frames: [UInt8]) -> [UInt8] {
        [UInt8(0x40 | frames.count >> 8), UInt8(frames.count & 0xff)] + frames
    }
}
