// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport

/// Time, and the end (draft-ietf-quic-qmux-02, section 7).
extension QMuxConnectionCore {
    /// When ``deadlineReached(now:)`` is due; ask again after every other call.
    package var nextDeadline: NIODeadline? {
        switch self.phase {
        case .open:
            Self.earlier(
                self.clock.handshakeDeadline,
                Self.earlier(self.clock.idleDeadline, self.clock.keepAliveDeadline))
        case .closing, .draining: self.clock.drainDeadline
        case .over: nil
        }
    }

    /// Asked for at the end of each turn.
    private static func earlier(_ left: NIODeadline?, _ right: NIODeadline?) -> NIODeadline? {
        guard let left, let right else { return left ?? right }
        return min(left, right)
    }

    package func deadlineReached(now: NIODeadline) {
        guard self.phase == .open else {
            if let deadline = self.clock.drainDeadline, now >= deadline { self.phase = .over }
            return
        }
        if let deadline = self.clock.handshakeDeadline, now >= deadline {
            return self.end(
                TransportError(
                    .timedOut,
                    message:
                        "the peer's transport parameters did not come within \(self.limits.handshakeTimeout.inWords) "
                        + "(handshakeTimeout)",
                    isRetrySafe: true),
                phase: .draining, now: now)
        }
        if let deadline = self.clock.idleDeadline, now >= deadline {
            // Section 7.2: no frame is sent, the sending side is shut down.
            return self.end(
                TransportError(
                    .idleTimeout,
                    message:
                        "nothing was heard from the peer for \(self.clock.idleTimeout?.inWords ?? "long") (idleTimeout)"
                ),
                phase: .draining, now: now)
        }
        if let deadline = self.clock.keepAliveDeadline, now >= deadline {
            self.clock.asked(now)
            self.pings.wantsToAsk = true
        }
    }

    /// The peer shut down its sending side: end of file.
    package func peerFinished(now: NIODeadline) {
        if self.phase == .open {
            self.end(
                TransportError(
                    .carrierLost, message: "the peer ended the byte stream without a close", initiator: .peer),
                phase: .draining, now: now)
        }
        self.hasPeerFinished = true
        if self.phase == .draining { self.phase = .over }
    }

    /// The carrier broke: a TCP reset, a TLS alert, a failed write.
    package func carrierLost(_ error: TransportError, now: NIODeadline) {
        self.end(error, phase: .over, now: now)
        self.phase = .over
    }

    package var carrierDemand: QMuxCarrierDemand {
        switch self.phase {
        case .open, .closing: .keepOpen
        case .draining: .finishSending
        case .over: .close
        }
    }

    /// The peer broke the protocol.
    func fail(_ violation: QMuxViolation, now: NIODeadline) {
        let reason = Self.shortened(violation.reason)
        self.beginClosing(
            with: .connectionClose(code: violation.code, frameType: violation.frameType, reason: reason),
            reason: TransportError(
                .transport, message: reason, wireCode: violation.code, frameType: violation.frameType),
            now: now)
    }

    func beginClosing(with frame: QMuxFrame, reason: TransportError, now: NIODeadline) {
        self.end(reason, phase: .closing(frame), now: now)
    }

    func receiveClose(_ frame: QMuxFrame, now: NIODeadline) {
        let reason: TransportError
        switch frame {
        case .applicationClose(let code, let text):
            reason = TransportError(.application, message: text, wireCode: code, initiator: .peer)
        case .connectionClose(let code, let frameType, let text):
            reason = TransportError(
                .transport, message: text, wireCode: code, frameType: frameType, initiator: .peer)
        default:
            return
        }
        self.end(reason, phase: .draining, now: now)
    }

    /// Drops what is left, and tells the application once.
    private func end(_ reason: TransportError, phase: QMuxPhase, now: NIODeadline) {
        guard self.closeReason == nil else { return }
        self.closeReason = reason
        self.phase = phase
        self.clock.startDraining(now, for: self.configuration.drainTimeout)
        self.writer.dropAll()
        self.report(.connectionClosed(reason))
    }
}
