// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import DequeModule
internal import NIOCore
internal import TernTLS
internal import TernTransport

extension QUICConnectionCore {
    /// The transport error code of TLS alert 0 (RFC 9001, section 4.8).
    static var cryptoError: UInt64 { 0x100 }

    /// Closes at once. The CONNECTION_CLOSE leaves with the next ``nextTransmit(into:now:)``; the `.closed` event is
    /// next.
    ///
    /// - Parameter reason: cut to 256 bytes of UTF-8.
    package func close(code: UInt64, reason: String) {
        guard self.closeReason == nil else { return }
        var reason = reason
        while reason.utf8.count > 256 { reason.removeLast() }
        let code = min(code, Self.maximumCode)
        let error = TransportError(.application, message: reason, wireCode: code)
        if self.isEstablished {
            self.pendingClose = PendingClose(isApplication: true, code: code, reason: reason)
        } else {
            // RFC 9000, section 10.2.3: the peer cannot check yet who asks, so it learns no more than this.
            self.pendingClose = PendingClose(
                isApplication: false, code: TransportErrorCode.applicationError, reason: "")
        }
        self.end(error)
    }

    // MARK: What ends a connection

    /// Acts on what a call of ngtcp2 returned.
    func handle(_ result: tern_quic_result, now: UInt64) {
        guard self.closeReason == nil || result == TERN_QUIC_DRAINING else { return }
        switch result {
        case TERN_QUIC_DRAINING: self.peerClosed(now: now)
        case TERN_QUIC_DROP:
            self.vanish(TransportError(.handshakeFailed, message: "the first packets made no sense", initiator: .peer))
        case TERN_QUIC_RETRY:
            self.wantsRetry = true
            self.vanish(TransportError(.handshakeFailed, message: "the first packets came out of order"))
        case TERN_QUIC_IDLE:
            self.vanish(
                self.isEstablished
                    ? TransportError(.idleTimeout, message: "nothing was heard for the idle timeout")
                    : TransportError(.timedOut, message: "no answer to the handshake", isRetrySafe: true))
        case TERN_QUIC_HANDSHAKE_TIMEOUT:
            self.vanish(TransportError(.timedOut, message: "the handshake took too long", isRetrySafe: true))
        case TERN_QUIC_VERSION_NEGOTIATION:
            self.vanish(
                TransportError(
                    .handshakeFailed, message: "the server does not speak QUIC version 1", initiator: .peer,
                    isRetrySafe: true))
        case TERN_QUIC_CRYPTO: self.failHandshake(alert: self.native.tlsAlert)
        case TERN_QUIC_FAILED, TERN_QUIC_INVALID:
            let failure = self.native.lastFailure
            self.fail(code: failure.code, failure.text, as: self.isEstablished ? .transport : .handshakeFailed)
        default: break
        }
    }

    /// Closes with a transport error code.
    func fail(
        code: UInt64, _ message: String, as kind: TransportError.Code = .transport, isRetrySafe: Bool = false
    ) {
        guard self.closeReason == nil else { return }
        self.pendingClose = PendingClose(isApplication: false, code: code, reason: "")
        self.end(TransportError(kind, message: message, wireCode: code, isRetrySafe: isRetrySafe))
    }

    /// What carries the connection is broken, as far as this end can tell.
    func lose(_ error: TransportError) {
        guard self.closeReason == nil else { return }
        self.pendingClose = PendingClose(
            isApplication: false, code: TransportErrorCode.internalError, reason: "nothing is acknowledged")
        self.end(error)
    }

    /// The certificate is not what it should be; the peer hears the TLS alert (RFC 9001, section 4.8).
    func rejectPeer(_ error: TransportError) {
        guard self.closeReason == nil else { return }
        var error = error
        let alert = error.wireCode.flatMap { $0 & ~0xff == Self.cryptoError ? $0 : nil }
        let code = alert ?? Self.cryptoError + 42
        error.wireCode = code
        self.pendingClose = PendingClose(isApplication: false, code: code, reason: "")
        self.end(error)
    }

    private func failHandshake(alert: UInt8) {
        guard !self.native.refusedToLog else {
            let message =
                "the server prefers another address, which ngtcp2 before 1.22.1 can't write to a qlog safely "
                + "(CVE-2026-40170): connect without a qlog directory, or with a newer ngtcp2"
            return self.fail(code: Self.cryptoError + UInt64(alert), message, as: .handshakeFailed)
        }
        // Without an alert TLS failed inside: internal_error.
        let error = TLSSession.error(forAlert: alert == 0 ? 80 : alert, initiator: .local)
        guard error.code == .certificateRejected else {
            self.fail(
                code: error.wireCode ?? Self.cryptoError, error.message,
                as: self.isEstablished ? .transport : error.code,
                isRetrySafe: error.isRetrySafe && !self.isEstablished)
            return
        }
        do throws(TransportError) {
            try self.tls.verifyPeer()
            self.rejectPeer(error)
        } catch var detailed {
            // It says why; the alert says it to the peer.
            detailed.wireCode = error.wireCode
            self.rejectPeer(detailed)
        }
    }

    private func peerClosed(now: UInt64) {
        self.phase = .draining(until: now &+ 3 &* self.native.probeTimeout)
        self.pendingClose = nil
        guard self.closeReason == nil else { return }
        if self.native.inbox.wasStatelesslyReset {
            self.end(
                TransportError(
                    .carrierLost, message: "the peer does not know this connection any more", initiator: .peer))
            return
        }
        let close = self.native.peerClose
        self.end(
            TransportError(
                self.kind(ofPeerClose: close.code, isApplication: close.isApplication),
                message: self.message(ofPeerClose: close.code, isApplication: close.isApplication, close.reason),
                wireCode: close.code, frameType: close.isApplication || close.frameType == 0 ? nil : close.frameType,
                initiator: .peer, isRetrySafe: !self.isEstablished))
    }

    /// A TLS alert is a number on the wire; over TCP it has words.
    private func message(ofPeerClose code: UInt64, isApplication: Bool, _ reason: String) -> String {
        guard !isApplication, code & ~0xff == Self.cryptoError else { return reason }
        let alert = self.tls.error(forPeersAlert: UInt8(truncatingIfNeeded: code)).message
        return reason.isEmpty ? alert : "\(alert) (\(reason))"
    }

    private func kind(ofPeerClose code: UInt64, isApplication: Bool) -> TransportError.Code {
        if isApplication { return .application }
        if code & ~0xff == Self.cryptoError {
            let alert = TLSSession.error(forAlert: UInt8(truncatingIfNeeded: code), initiator: .peer)
            return self.isEstablished && alert.code == .handshakeFailed ? .transport : alert.code
        }
        if self.isEstablished { return .transport }
        return code == TransportErrorCode.connectionRefused ? .connectionRefused : .handshakeFailed
    }

    /// Over without a packet.
    private func vanish(_ error: TransportError) {
        self.phase = .finished
        self.end(error)
    }

    private func end(_ error: TransportError) {
        self.closeReason = error
        self.failDeliveries(error)
        self.scheduler.removeAll()
        self.outboundDatagrams.removeAll()
        self.emit(.closed(error))
    }

    // MARK: CONNECTION_CLOSE

    func writeClose(into buffer: UnsafeMutableRawBufferPointer, now: UInt64) -> QUICTransmit? {
        guard let close = self.pendingClose else { return nil }
        self.pendingClose = nil
        self.held = nil
        let packet = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<self.configuration.maximumUDPPayloadSize])
        let result = self.native.writeClose(
            isApplication: close.isApplication, code: close.code, reason: close.reason, into: packet, now: now)
        self.native.inbox.facts.removeAll(keepingCapacity: true)
        guard result.bytes > 0 else {
            // No keys yet: nothing was sent or nothing was understood, so there is nobody to tell.
            self.phase = .finished
            return nil
        }
        self.closePacket = Array(packet[0..<result.bytes])
        self.phase = .closing(until: now &+ 3 &* self.native.probeTimeout)
        return self.transmit(ofClose: result.bytes)
    }

    func repeatClose(into buffer: UnsafeMutableRawBufferPointer) -> QUICTransmit? {
        guard self.repeatsClose, !self.closePacket.isEmpty else { return nil }
        self.repeatsClose = false
        buffer.copyBytes(from: self.closePacket)
        return self.transmit(ofClose: self.closePacket.count)
    }

    private func transmit(ofClose count: Int) -> QUICTransmit {
        self.counters.bytesSent += UInt64(count)
        self.counters.packetsSent = (self.counters.packetsSent ?? 0) + 1
        return QUICTransmit(byteCount: count, segmentSize: count, path: self.native.lastWritePath, ecn: .notECT)
    }
}
