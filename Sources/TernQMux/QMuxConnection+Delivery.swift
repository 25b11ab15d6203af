// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQMuxCore
internal import TernTransport

/// What was given to TCP, and how much of it had STREAM frames.
struct QMuxOutput {
    /// Bytes that the channel was given.
    private var total = 0
    /// `total` when the last STREAM frame was among them, and the last one with bytes.
    private var upToStreams = 0
    private var upToBytes = 0
    private var streamFrames: (all: UInt64, withBytes: UInt64) = (0, 0)

    mutating func wrote(_ count: Int, streamFrames: (all: UInt64, withBytes: UInt64)) {
        self.total += count
        if streamFrames.all != self.streamFrames.all { self.upToStreams = self.total }
        if streamFrames.withBytes != self.streamFrames.withBytes { self.upToBytes = self.total }
        self.streamFrames = streamFrames
    }

    /// - Parameter waiting: bytes that the channel still has, or the kernel and no acknowledgement.
    func arrival(waiting: Int) -> QMuxArrival {
        let acknowledged = self.total - waiting
        if acknowledged >= self.upToStreams { return .everything }
        return acknowledged >= self.upToBytes ? .bytes : .unknown
    }
}

extension QMuxConnection {
    func delivery(of stream: StreamID?) -> EventLoopFuture<Void> {
        self.eventLoop.preconditionInEventLoop()
        guard let core else {
            return self.eventLoop.makeFailedFuture(
                self.failure ?? TransportError(.misuse, message: "the connection is not established yet"))
        }
        let (tag, future) = self.deliveries.add(on: self.eventLoop)
        core.watchDelivery(of: stream, tag: tag)
        self.schedulePump()
        return future
    }

    /// At the end of a turn: answers those who wait for what arrived.
    func settleDeliveries() {
        guard let core else { return }
        if let reason = core.closeReason, !self.hasSettledEnd {
            self.hasSettledEnd = true
            // A peer that closes in order has read what it was sent, or had it to read: its TCP says so, where its QMux said
            // nothing more.
            let isInOrder = reason.initiator == .peer && reason.code == .application
            core.settleDeliveriesAtEnd(isInOrder ? self.arrival : .unknown)
        }
        let settled = self.deliveries.take(core.takeDeliveryAnswers())
        settled.tell()
    }

    private var arrival: QMuxArrival {
        guard let context, let unacknowledged = self.socket?.unacknowledgedBytes,
            let buffered = try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)
        else { return .unknown }
        return self.output.arrival(waiting: buffered + unacknowledged)
    }
}
