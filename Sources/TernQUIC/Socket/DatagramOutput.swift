// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernQUICCore

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// How the bytes of a train become datagrams.
package struct DatagramTrain: Sendable {
    /// The size of each datagram; only the last may be shorter.
    package var segmentSize: Int
    package var path: QUICPath
    package var ecn: ECN

    package init(segmentSize: Int, path: QUICPath, ecn: ECN) {
        self.segmentSize = segmentSize
        self.path = path
        self.ecn = ecn
    }
}

/// What leaves a UDP socket, and what a refusal of the kernel means.
///
/// No refusal ends anything: QUIC repairs lost packets, and a route that is gone may come back.
package struct DatagramOutput {
    private let sender: any DatagramSender
    private var segments: Bool
    private var waiting: WaitingTrain?
    /// Datagrams that the kernel refused, since the start.
    package private(set) var refusedDatagrams: UInt64 = 0
    /// The errno of the latest refusal.
    package private(set) var latestRefusal: CInt?

    package init(sender: any DatagramSender) {
        self.sender = sender
        self.segments = sender.canSegment
    }

    /// The socket's send buffer is full: nothing may be sent before ``retry()`` answers `true`.
    package var isBlocked: Bool { self.waiting != nil }
    /// Whether several datagrams go out with one system call.
    package var usesSegmentationOffload: Bool { self.segments }

    /// Sends a train; what the kernel does not take now is kept for ``retry()``.
    ///
    /// - Returns: whether more may be sent.
    package mutating func send(_ bytes: UnsafeRawBufferPointer, as train: DatagramTrain) -> Bool {
        precondition(!self.isBlocked, "nothing may overtake the train that waits")
        guard let remainder = self.attempt(bytes, as: train) else { return true }
        self.waiting = WaitingTrain(bytes: [UInt8](remainder), train: train)
        return false
    }

    /// Tries again to send what waits.
    ///
    /// - Returns: whether more may be sent.
    package mutating func retry() -> Bool {
        guard let waiting = self.waiting else { return true }
        self.waiting = nil
        return waiting.bytes.withUnsafeBytes { self.send($0, as: waiting.train) }
    }

    /// Returns what did not fit the socket's buffer, or `nil` when the train is dealt with.
    private mutating func attempt(_ bytes: UnsafeRawBufferPointer, as train: DatagramTrain) -> UnsafeRawBufferPointer? {
        let isTrain = train.segmentSize < bytes.count
        guard isTrain, self.segments else { return self.sendOneByOne(bytes, as: train) }
        let code = self.sender.send(
            bytes, segmentSize: train.segmentSize, path: train.path, ecn: train.ecn)
        switch code {
        case 0:
            return nil
        case EAGAIN, EWOULDBLOCK:
            return bytes
        case EIO, EINVAL, EOPNOTSUPP, EMSGSIZE:
            return self.sendWithoutOffload(bytes, as: train)
        default:
            self.refused(Self.datagramCount(bytes.count, train.segmentSize), code: code)
            return nil
        }
    }

    /// After a refused train: the device may not segment (EIO), or one segment may be larger than the MTU (EINVAL,
    /// EMSGSIZE). Only when the same bytes pass one by one is the offload to blame.
    private mutating func sendWithoutOffload(
        _ bytes: UnsafeRawBufferPointer, as train: DatagramTrain
    ) -> UnsafeRawBufferPointer? {
        let refusedBefore = self.refusedDatagrams
        let remainder = self.sendOneByOne(bytes, as: train)
        if self.refusedDatagrams == refusedBefore { self.segments = false }
        return remainder
    }

    private mutating func sendOneByOne(
        _ bytes: UnsafeRawBufferPointer, as train: DatagramTrain
    ) -> UnsafeRawBufferPointer? {
        var rest = bytes
        while !rest.isEmpty {
            let size = min(max(train.segmentSize, 1), rest.count)
            let datagram = UnsafeRawBufferPointer(rebasing: rest.prefix(size))
            let code = self.sender.send(datagram, segmentSize: size, path: train.path, ecn: train.ecn)
            if code == EAGAIN || code == EWOULDBLOCK { return rest }
            if code != 0 { self.refused(1, code: code) }
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(size))
        }
        return nil
    }

    private mutating func refused(_ count: Int, code: CInt) {
        self.refusedDatagrams &+= UInt64(count)
        self.latestRefusal = code
    }

    private static func datagramCount(_ byteCount: Int, _ segmentSize: Int) -> Int {
        (byteCount + segmentSize - 1) / max(segmentSize, 1)
    }

    private struct WaitingTrain {
        let bytes: [UInt8]
        let train: DatagramTrain
    }
}
