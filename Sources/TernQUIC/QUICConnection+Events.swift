// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import TernQUICCore
internal import TernTransport

extension QUICConnection {
    func drainEvents() {
        self.undrained = 0
        self.tellHeldEvents()
        while let event = self.core.nextEvent() {
            self.take(event)
            self.tellHeldEvents()
        }
    }

    private func tellHeldEvents() {
        while let handler = self.handler, let event = self.events.popFirst() {
            self.tell(event, to: handler)
        }
    }

    /// Deals with what concerns the driver and keeps the rest for the handler.
    private func take(_ event: QUICEvent) {
        switch event {
        case .connectionIDIssued(let id): self.owner?.connectionIDIssued(id, by: self)
        case .connectionIDRetired(let id): self.owner?.connectionIDRetired(id, by: self)
        case .earlyDataReceived(let applicationProtocol):
            self.applicationProtocol = applicationProtocol
            self.owner?.connectionHasEarlyData(self)
        case .handshakeCompleted(let applicationProtocol):
            self.applicationProtocol = applicationProtocol
            self.peerCertificates = self.core.peerCertificates
            self.owner?.connectionEstablished(self)
        case .datagramReceived: self.hold(datagram: event)
        case .tokenReceived(let token): self.owner?.connectionReceived(token: token, by: self)
        case .pathChanged:
            self.owner?.connectionChangedPath(self)
            self.record(event)
        case .pathSettled(let path, let outcome):
            self.owner?.connection(self, settled: path, outcome)
            if outcome == .failed { self.record(event) }
        case .pathReleased(let path): self.owner?.connection(self, released: path)
        default: self.record(event)
        }
    }

    func record(_ event: QUICEvent) {
        guard self.closeReason == nil else { return }
        self.events.append(event)
        if case .closed(let reason) = event {
            self.closeReason = reason
            self.owner?.connectionEnded(self, reason: reason)
        }
    }

    /// Datagrams that nobody reads yet give way to newer ones.
    private func hold(datagram: QUICEvent) {
        if self.datagramsHeld >= self.limits.bufferedDatagrams {
            let oldest = self.events.firstIndex { if case .datagramReceived = $0 { true } else { false } }
            guard let oldest else { return }
            self.events.remove(at: oldest)
            self.datagramsHeld -= 1
            self.datagramsShed += 1
        }
        self.datagramsHeld += 1
        self.record(datagram)
    }

    private func tell(_ event: QUICEvent, to handler: any LoopConnectionHandler) {
        switch event {
        case .streamOpened(let stream): handler.streamOpened(stream)
        case .streamReceived(let stream, let bytes, let finished):
            self.mayAnswer = true
            handler.streamReceived(stream, bytes: bytes, finished: finished)
        case .streamWasReset(let stream, let code): handler.streamWasReset(stream, code: code)
        case .streamWasStopped(let stream, let code): handler.streamWasStopped(stream, code: code)
        case .streamWritable(let stream): handler.streamWritable(stream)
        case .streamClosed(let stream): handler.streamClosed(stream)
        case .streamsAvailable(let direction): handler.streamsAvailable(direction)
        case .datagramReceived(let bytes):
            self.datagramsHeld -= 1
            self.mayAnswer = true
            handler.datagramReceived(bytes)
        case .handshakeConfirmed:
            handler.connectionEventOccurred(
                ConnectionEvent(.handshakeConfirmed, message: "the handshake is confirmed"))
        case .pathChanged(let path):
            handler.connectionEventOccurred(
                ConnectionEvent(
                    .pathChanged, message: "the path is now \(path.local.hostAndPort) to \(path.remote.hostAndPort)"))
        case .closed(let reason):
            self.hasToldEnd = true
            self.handler = nil
            // Who hears of the end may end the process: our CONNECTION_CLOSE goes first.
            _ = self.transmit()
            handler.connectionClosed(reason)
        case .datagramSettled(let tag, let fate): handler.datagramSettled(tag, fate: fate)
        case .keysUpdated:
            handler.connectionEventOccurred(ConnectionEvent(.keysUpdated, message: "packets are protected by new keys"))
        case .pathMTUChanged(let size):
            handler.connectionEventOccurred(
                ConnectionEvent(.pathMTUChanged, message: "UDP payloads are up to \(size) bytes"))
        case .earlyDataDecided(let accepted):
            handler.connectionEventOccurred(
                accepted
                    ? ConnectionEvent(.earlyDataAccepted, message: "the server took the data sent early")
                    : ConnectionEvent(.earlyDataRejected, message: "the data sent early was sent again"))
        case .pathSettled(let path, _):
            handler.connectionEventOccurred(
                ConnectionEvent(.pathFailed, message: path.silence))
        case .connectionIDIssued, .connectionIDRetired, .handshakeCompleted, .earlyDataReceived, .tokenReceived,
            .pathReleased:
            break
        }
    }

    func finish() {
        guard let owner else { return }
        self.owner = nil
        owner.connectionFinished(self)
    }
}
