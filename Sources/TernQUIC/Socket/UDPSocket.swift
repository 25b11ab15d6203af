// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
package import NIOCore
internal import NIOPosix
internal import TernQUICCore

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// Hears of a UDP socket; every call comes on the socket's event loop.
protocol UDPSocketReceiver: AnyObject {
    /// Datagrams came. Their bytes are valid during the call only.
    func received(_ train: ReceivedTrain)
    /// Everything that could be read in this turn of the event loop was: the time to answer.
    func receiveTurnEnded()
    /// The socket takes datagrams again, after ``UDPSocket/send(_:as:)`` said `false`.
    func socketBecameWritable()
    /// The socket is gone: closed by ``UDPSocket/close()``, or lost. The last call.
    func socketClosed()
}

/// One datagram, or several of one path that the kernel put together (UDP generic receive offload).
struct ReceivedTrain {
    let bytes: UnsafeRawBufferPointer
    /// The size of each datagram; only the last may be shorter.
    let segmentSize: Int
    let path: QUICPath
    let ecn: ECN
    let now: NIODeadline

    /// Passes on each datagram; an empty one too.
    @inline(__always)
    func forEachDatagram(_ body: (UnsafeRawBufferPointer) -> Void) {
        var offset = 0
        repeat {
            let end = min(offset + self.segmentSize, self.bytes.count)
            body(UnsafeRawBufferPointer(rebasing: self.bytes[offset..<end]))
            offset = end
        } while offset < self.bytes.count
    }
}

/// A UDP socket on an event loop: NIO binds it, waits for it and reads from it; datagrams leave by a
/// ``DatagramSender``.
///
/// Confined to its event loop. The socket is never connected and never asks for ICMP errors: an error on the
/// descriptor makes NIO close the channel.
final class UDPSocket {
    let localAddress: SocketAddress
    let eventLoop: any EventLoop
    private let channel: any Channel
    private var output: DatagramOutput
    private var receiver: (any UDPSocketReceiver)?
    private var isRetryScheduled = false
    /// Where trains are put together: connections of one socket share it, because they write and send in one go.
    let trainBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

    fileprivate init(
        channel: any Channel, localAddress: SocketAddress, sender: any DatagramSender, receiver: any UDPSocketReceiver
    ) {
        self.channel = channel
        self.eventLoop = channel.eventLoop
        self.localAddress = localAddress
        self.output = DatagramOutput(sender: sender)
        self.receiver = receiver
    }

    deinit {
        self.trainBuffer.deallocate()
    }

    /// Whether the kernel's buffer is full; ``UDPSocketReceiver/socketBecameWritable()`` says when it is not any more.
    var isBlocked: Bool { self.isOpen && self.output.isBlocked }
    var isOpen: Bool { self.receiver != nil }

    /// Sends a train, or keeps what the kernel does not take now.
    ///
    /// - Returns: whether more may be sent.
    func send(_ bytes: UnsafeRawBufferPointer, as train: DatagramTrain) -> Bool {
        guard self.isOpen else { return true }
        if self.output.send(bytes, as: train) { return true }
        self.scheduleRetry()
        return false
    }

    /// Sends one datagram that belongs to no connection; it is dropped when the socket is blocked.
    func sendUnconnected(_ bytes: UnsafeRawBufferPointer, path: QUICPath) {
        guard !self.isBlocked else { return }
        _ = self.send(bytes, as: DatagramTrain(segmentSize: bytes.count, path: path, ecn: .notECT))
    }

    /// Closes the descriptor now; ``UDPSocketReceiver/socketClosed()`` follows.
    func close() {
        self.channel.close(promise: nil)
    }

    fileprivate func deliver(_ train: ReceivedTrain) {
        self.receiver?.received(train)
    }

    fileprivate func turnEnded() {
        self.receiver?.receiveTurnEnded()
    }

    fileprivate func channelClosed() {
        guard let receiver else { return }
        self.receiver = nil
        receiver.socketClosed()
    }

    /// The buffer drains at the speed of the network device: look again soon, but let the event loop read in between.
    private func scheduleRetry() {
        guard !self.isRetryScheduled else { return }
        self.isRetryScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.scheduleTask(in: Self.retryDelay) { bound.value.retry() }
    }

    private func retry() {
        self.isRetryScheduled = false
        guard self.isOpen else { return }
        if self.output.retry() {
            self.receiver?.socketBecameWritable()
        } else {
            self.scheduleRetry()
        }
    }

    private static let retryDelay = TimeAmount.microseconds(200)
}

/// How to open a ``UDPSocket``.
package struct UDPSocketOptions: Sendable {
    /// Bytes for the kernel to buffer in each direction; the kernel may give less.
    package var bufferSize: Int = 4 << 20
    /// Several sockets, one per event loop, share the port; the kernel spreads the peers over them (SO_REUSEPORT).
    package var sharesPort = false
    /// Takes the port for itself, and when it has it lets other sockets share it: nobody who was there before is
    /// joined.
    package var sharesPortOnceBound = false
    /// Replaces the system's call that lets a port be shared; returns an errno.
    package var sharePort: (@Sendable (CInt) -> CInt)?
    /// Answers from the address that was asked, where the socket is bound to every address.
    package var answersFromAddressAsked = false
    /// Replaces the system's sender. Called on the event loop, once.
    package var makeSender: (@Sendable (any Channel, CInt) -> any DatagramSender)?

    package init() {}
}

extension UDPSocket {
    /// Binds a socket on `eventLoop`.
    ///
    /// - Parameter receiver: kept until the socket is closed.
    static func bind(
        to address: SocketAddress, on eventLoop: any EventLoop, options: UDPSocketOptions,
        receiver: NIOLoopBound<any UDPSocketReceiver>
    ) -> EventLoopFuture<NIOLoopBound<UDPSocket>> {
        DatagramBootstrap(group: eventLoop)
            .channelOption(.socketOption(.so_rcvbuf), value: options.bufferSize)
            .channelOption(.socketOption(.so_sndbuf), value: options.bufferSize)
            .channelOption(.socket(SocketOptionLevel(SOL_SOCKET), SO_REUSEPORT), value: options.sharesPort ? 1 : 0)
            .channelOption(.explicitCongestionNotification, value: true)
            .channelOption(.receivePacketInfo, value: options.answersFromAddressAsked && address.isWildcard)
            .channelOption(.maxMessagesPerRead, value: 16)
            // A train of datagrams that the kernel put together is up to 64 KiB long.
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 65_536))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try Self.enableOffload(on: channel)
                }
            }
            .bind(to: address)
            .flatMapThrowing { channel in
                do {
                    let socket = try Self.adopt(channel, options: options, receiver: receiver.value)
                    try channel.pipeline.syncOperations.addHandler(
                        DatagramHandler(socket: socket, reportsDestination: options.answersFromAddressAsked))
                    return NIOLoopBound(socket, eventLoop: eventLoop)
                } catch {
                    // Otherwise nobody would: the descriptor, and with it the port, would stay taken.
                    channel.close(promise: nil)
                    throw error
                }
            }
    }

    private static func adopt(
        _ channel: any Channel, options: UDPSocketOptions, receiver: any UDPSocketReceiver
    ) throws -> UDPSocket {
        guard let localAddress = channel.localAddress else { throw ChannelError.unknownLocalAddress }
        let descriptor = try Self.descriptor(of: channel)
        if options.sharesPortOnceBound {
            let code = options.sharePort?(descriptor) ?? tern_udp_share_port(descriptor)
            guard code == 0 else { throw IOError(errnoCode: code, reason: "SO_REUSEPORT") }
        }
        let sender: any DatagramSender
        if let makeSender = options.makeSender {
            sender = makeSender(channel, descriptor)
        } else {
            sender = SystemDatagramSender(
                channel: channel, descriptor: descriptor,
                usesSourceAddress: options.answersFromAddressAsked && localAddress.isWildcard)
        }
        return UDPSocket(channel: channel, localAddress: localAddress, sender: sender, receiver: receiver)
    }

    private static func enableOffload(on channel: any Channel) throws {
        let options = channel.syncOptions
        if System.supportsUDPReceiveOffload {
            try options?.setOption(.datagramReceiveOffload, value: true)
            try options?.setOption(.datagramReceiveSegmentSize, value: true)
        }
        let descriptor = try Self.descriptor(of: channel)
        // Both help, and QUIC works without them.
        _ = tern_udp_set_dont_fragment(descriptor)
        _ = tern_udp_receive_ipv4_ecn(descriptor)
    }

    private static func descriptor(of channel: any Channel) throws -> CInt {
        var descriptor: CInt = -1
        try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
            descriptor = $0
        }
        guard descriptor >= 0 else { throw ChannelError.operationUnsupported }
        return descriptor
    }
}

/// Takes apart what NIO reads.
private final class DatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let socket: UDPSocket
    private let port: Int
    private let reportsDestination: Bool
    private var latest: (remote: SocketAddress, destination: SocketAddress?, path: QUICPath)?

    init(socket: UDPSocket, reportsDestination: Bool) {
        self.socket = socket
        self.port = socket.localAddress.port ?? 0
        self.reportsDestination = reportsDestination && socket.localAddress.isWildcard
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        // Nobody can be answered at port 0; only forged datagrams come from there.
        guard envelope.remoteAddress.port != 0 else { return }
        let path = self.path(of: envelope)
        envelope.data.withUnsafeReadableBytes { bytes in
            self.socket.deliver(
                ReceivedTrain(
                    bytes: bytes, segmentSize: max(envelope.metadata?.segmentSize ?? bytes.count, 1), path: path,
                    ecn: ECN(envelope.metadata?.ecnState), now: .now()))
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.socket.turnEnded()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.socket.channelClosed()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // What matters ends in channelInactive.
    }

    /// Most datagrams come from where the one before came from.
    private func path(of envelope: AddressedEnvelope<ByteBuffer>) -> QUICPath {
        let destination = self.reportsDestination ? envelope.metadata?.packetInfo?.destinationAddress : nil
        if let latest, latest.remote == envelope.remoteAddress, latest.destination == destination { return latest.path }
        var local = self.socket.localAddress
        if var address = destination {
            address.port = self.port
            local = address
        }
        let path = QUICPath(local: local, remote: envelope.remoteAddress)
        self.latest = (envelope.remoteAddress, destination, path)
        return path
    }
}
