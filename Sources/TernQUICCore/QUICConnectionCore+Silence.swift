// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

// What a connection does against silence: it asks in time, and does not wait for ever.
extension QUICConnectionCore {
    /// The smaller of what both ends tell holds for both (RFC 9000, section 10.1.1).
    var negotiatedIdleTimeout: TimeAmount? {
        let ours = self.configuration.limits.idleTimeout.flatMap { $0.nanoseconds > 0 ? $0 : nil }
        let peers = self.native.peerIdleTimeout.map { TimeAmount.nanoseconds(Int64(clamping: $0)) }
        guard let ours, let peers else { return ours ?? peers }
        return min(ours, peers)
    }

    /// How often an idle connection asks, in nanoseconds; `nil`: never.
    var keepAliveInterval: UInt64? {
        self.configuration.limits.keepAliveInterval(within: self.negotiatedIdleTimeout).map {
            UInt64(max($0.nanoseconds, 0))
        }
    }

    /// When the connection is given up because nothing is acknowledged.
    var patienceEnds: UInt64? {
        // The handshake has a time of its own.
        guard self.isEstablished, self.closeReason == nil else { return nil }
        let patience = self.configuration.limits.unacknowledgedTimeout.map { UInt64(max($0.nanoseconds, 0)) }
        return self.progress.deadline(after: patience)
    }

    /// Ends the connection if the time for it has come. The peer may still hear why: small packets may pass.
    func loseWhatIsNotAcknowledged(now: UInt64) {
        guard let patienceEnds, patienceEnds <= now, let timeout = self.configuration.limits.unacknowledgedTimeout
        else {
            return
        }
        self.lose(.unacknowledged(for: timeout, how: "over QUIC"))
    }
}
