// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQMuxCore
internal import TernTransport

/// What the application does.
extension QMuxConnection {
    var localAddress: SocketAddress? {
        self.eventLoop.preconditionInEventLoop()
        return self.context?.channel.localAddress
    }

    var remoteAddress: SocketAddress? {
        self.eventLoop.preconditionInEventLoop()
        return self.context?.channel.remoteAddress
    }

    var maximumDatagramSize: Int {
        self.eventLoop.preconditionInEventLoop()
        return self.core?.maximumDatagramSize ?? 0
    }

    func statistics() -> ConnectionStatistics {
        self.eventLoop.preconditionInEventLoop()
        var statistics = self.core?.statistics() ?? ConnectionStatistics()
        statistics.handshakeDuration = self.handshakeDuration
        self.socket?.complete(&statistics)
        return statistics
    }

    func start(handler: any LoopConnectionHandler) {
        self.eventLoop.preconditionInEventLoop()
        precondition(!self.isStarted, "a connection is started once")
        self.isStarted = true
        self.handler = handler
        self.schedulePump()
    }

    func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID? {
        let stream = try self.open().openStream(direction)
        self.schedulePump()
        return stream
    }

    func write(_ bytes: ByteBuffer, to stream: StreamID, finish: Bool) throws(TransportError) -> Bool {
        let wantsMore = try self.open().write(bytes, to: stream, finish: finish)
        self.schedulePump()
        return wantsMore
    }

    func reset(_ stream: StreamID, code: UInt64) {
        self.eventLoop.preconditionInEventLoop()
        self.core?.reset(stream, code: code)
        self.schedulePump()
    }

    func stopSending(_ stream: StreamID, code: UInt64) {
        self.eventLoop.preconditionInEventLoop()
        self.core?.stopSending(stream, code: code)
        self.schedulePump()
    }

    func setPriority(_ priority: StreamPriority, of stream: StreamID) {
        self.eventLoop.preconditionInEventLoop()
        self.core?.setPriority(priority, of: stream)
    }

    func consumed(_ count: Int, of stream: StreamID) {
        self.eventLoop.preconditionInEventLoop()
        self.core?.consumed(count, of: stream)
        self.schedulePump()
    }

    func sendDatagram(_ bytes: ByteBuffer) throws(TransportError) -> DatagramOutcome {
        let outcome = try self.open().sendDatagram(bytes)
        self.schedulePump()
        return outcome
    }

    func close(code: UInt64, reason: String) {
        self.eventLoop.preconditionInEventLoop()
        if let core {
            core.close(code: code, reason: reason, now: .now())
            self.schedulePump()
        } else {
            self.fail(TransportError(.cancelled, message: "closed before the handshake was done", isRetrySafe: true))
        }
    }

    /// The core, if streams may be used.
    private func open() throws(TransportError) -> QMuxConnectionCore {
        self.eventLoop.preconditionInEventLoop()
        if let reason = self.core?.closeReason ?? self.failure { throw reason }
        guard let core else { throw TransportError(.misuse, message: "the connection is not established yet") }
        return core
    }
}
