// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import NIOCore
package import TernQUICCore

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// One attempt to hand UDP datagrams to the network; ``DatagramOutput`` decides what a refusal means.
///
/// Called on the socket's event loop only.
package protocol DatagramSender: AnyObject {
    /// Sends a train: `bytes` cut into datagrams of `segmentSize`, of which only the last may be shorter.
    ///
    /// - Parameter path: the destination, and the local address to send from if the socket can choose it.
    /// - Returns: 0 when all of it was taken, else an errno; then none of it was.
    func send(_ bytes: UnsafeRawBufferPointer, segmentSize: Int, path: QUICPath, ecn: ECN) -> CInt

    /// Whether one ``send(_:segmentSize:path:ecn:)`` may carry several datagrams (UDP generic segmentation offload).
    var canSegment: Bool { get }
}

/// Sends with one `sendmsg` per train on the descriptor of a NIO channel.
///
/// NIO's own writes cannot choose the source address, and close the channel, with every connection on it, when a route
/// disappears for a moment.
final class SystemDatagramSender: DatagramSender {
    private let channel: any Channel
    private let descriptor: CInt
    private let usesSourceAddress: Bool
    let canSegment: Bool

    /// - Parameters:
    ///   - descriptor: the channel's own; used only while the channel is active.
    ///   - usesSourceAddress: whether the socket is bound to a wildcard address and must answer from the address asked.
    init(channel: any Channel, descriptor: CInt, usesSourceAddress: Bool) {
        self.channel = channel
        self.descriptor = descriptor
        self.usesSourceAddress = usesSourceAddress
        self.canSegment = tern_udp_has_segmentation_offload(descriptor)
    }

    func send(_ bytes: UnsafeRawBufferPointer, segmentSize: Int, path: QUICPath, ecn: ECN) -> CInt {
        // The kernel gives a closed descriptor's number to the next socket.
        guard self.channel.isActive else { return EBADF }
        let segment = segmentSize < bytes.count ? segmentSize : 0
        return path.remote.withSockAddr { remote, _ in
            guard self.usesSourceAddress else {
                return tern_udp_send(
                    self.descriptor, bytes.baseAddress, bytes.count, segment, remote, nil, ecn.rawValue)
            }
            return path.local.withSockAddr { local, _ in
                tern_udp_send(self.descriptor, bytes.baseAddress, bytes.count, segment, remote, local, ecn.rawValue)
            }
        }
    }
}

/// Sends through NIO's channel writes: for systems without the control messages of ``SystemDatagramSender``.
///
/// It cannot choose the source address, and a route that disappears closes the channel.
final class ChannelDatagramSender: DatagramSender {
    private let channel: any Channel

    init(channel: any Channel) {
        self.channel = channel
    }

    var canSegment: Bool { System.supportsUDPSegmentationOffload }

    func send(_ bytes: UnsafeRawBufferPointer, segmentSize: Int, path: QUICPath, ecn: ECN) -> CInt {
        guard self.channel.isActive else { return EBADF }
        guard self.channel.isWritable else { return EAGAIN }
        var buffer = self.channel.allocator.buffer(capacity: bytes.count)
        buffer.writeBytes(bytes)
        let metadata = AddressedEnvelope<ByteBuffer>.Metadata(
            ecnState: ecn.channelState, packetInfo: nil, segmentSize: segmentSize < bytes.count ? segmentSize : nil)
        let envelope = AddressedEnvelope(remoteAddress: path.remote, data: buffer, metadata: metadata)
        self.channel.writeAndFlush(envelope, promise: nil)
        return 0
    }
}

extension ECN {
    var channelState: NIOExplicitCongestionNotificationState {
        switch self {
        case .notECT: .transportNotCapable
        case .ect0: .transportCapableFlag0
        case .ect1: .transportCapableFlag1
        case .ce: .congestionExperienced
        }
    }

    init(_ state: NIOExplicitCongestionNotificationState?) {
        switch state {
        case .transportCapableFlag0: self = .ect0
        case .transportCapableFlag1: self = .ect1
        case .congestionExperienced: self = .ce
        case .transportNotCapable, nil: self = .notECT
        }
    }
}
