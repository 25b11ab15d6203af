// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQMuxCore
internal import TernTLS
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

    var isHandshakeComplete: Bool {
        self.eventLoop.preconditionInEventLoop()
        return self.isSecure && self.tls.isConfirmed
    }

    func isReplayable(_ stream: StreamID) -> Bool {
        self.eventLoop.preconditionInEventLoop()
        return self.core?.isReplayable(stream) ?? false
    }

    func exportKeyingMaterial(label: String, context: [UInt8], count: Int) throws(TransportError) -> [UInt8] {
        guard self.isHandshakeComplete else {
            throw TransportError(.misuse, message: "keys are exported when the handshake is complete")
        }
        return try self.tls.session.exportKeyingMaterial(label: label, context: context, count: count)
    }

    /// Peers count updates, and end a connection with too many of them (GnuTLS takes eight in a second).
    private static var timeBetweenKeyUpdates: TimeAmount { .milliseconds(250) }

    func updateKeys() throws(TransportError) {
        _ = try self.open()
        guard self.isHandshakeComplete else {
            throw TransportError(.misuse, message: "keys are updated when the handshake is complete")
        }
        let now = NIODeadline.now()
        if let last = self.keysUpdatedAt, now - last < Self.timeBetweenKeyUpdates {
            throw TransportError(.misuse, message: "the keys were updated just now")
        }
        self.keysUpdatedAt = now
        do throws(TransportError) {
            try self.tls.updateKeys()
        } catch {
            self.fail(error)
            throw error
        }
        self.occurrences.append(ConnectionEvent(.keysUpdated, message: "what is sent from now on has new keys"))
        self.schedulePump()
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

    func sendDatagram(_ bytes: ByteBuffer, tag: UInt64) throws(TransportError) -> DatagramOutcome {
        let outcome = try self.open().sendDatagram(bytes, tag: tag)
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
