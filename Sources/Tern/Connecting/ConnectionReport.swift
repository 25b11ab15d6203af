// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore
public import TernTransport

/// What a client tried, what it chose and why.
public struct ConnectionReport: Sendable {
    /// Why the winner won. Stable names for logs and JSON.
    public enum Reason: String, Sendable, Hashable {
        /// QUIC finished its handshake first.
        case quicFirst = "quic-first"
        /// The policy allows only this carrier.
        case onlyChoice = "only-choice"
        /// Both ran, TCP was faster.
        case tcpFaster = "tcp-faster"
        /// No packet came back over UDP: it is blocked, or the server does not listen there.
        case udpSilent = "udp-silent"
        /// QUIC came second: connections over it to this server died young (``ConnectionPolicy/youngAge``).
        case quicDistrusted = "quic-distrusted"
        /// QUIC failed: refused, unreachable, or its handshake broke.
        case quicFailed = "quic-failed"
    }

    /// One handshake that was tried.
    public struct Attempt: Sendable {
        public var carrier: Carrier
        public var address: SocketAddress
        /// Since the beginning of the call.
        public var startedAfter: TimeAmount
        /// When the first packet of the server came, since the beginning of the call.
        public var heardAfter: TimeAmount?
        /// When it succeeded, failed or was given up.
        public var endedAfter: TimeAmount?
        /// Why it failed; `nil` for the winner and for those that were given up.
        public var error: TransportError?
    }

    public var carrier: Carrier
    /// Why the winner won.
    public var reason: Reason
    public var address: SocketAddress
    /// From the winner's start to its finished handshake.
    public var handshakeDuration: TimeAmount
    /// From the beginning of the call, with name resolution and all, to the finished handshake.
    public var totalDuration: TimeAmount
    /// Every handshake that was tried, in the order of their starts.
    public var attempts: [Attempt]
}

extension ConnectionReport: CustomStringConvertible {
    /// A sentence such as "UDP blocked: fell back to tls after 131 ms".
    public var description: String {
        let milliseconds = Self.milliseconds(self.totalDuration)
        switch self.reason {
        case .quicFirst:
            let silent = self.silentQUICAddresses
            let note = silent.isEmpty ? "" : "; no answer over UDP from \(silent.joined(separator: ", "))"
            return "connected over \(self.carrier) after \(milliseconds)\(note)"
        case .onlyChoice: return "connected over \(self.carrier), the only choice, after \(milliseconds)"
        case .tcpFaster: return "\(self.carrier) was faster than quic: connected after \(milliseconds)"
        case .udpSilent:
            let place = self.leftUntried.map {
                " from \(self.silentQUICAddresses.joined(separator: ", ")) (\($0) was not tried)"
            }
            return "no answer over UDP\(place ?? ""): fell back to \(self.carrier) after \(milliseconds)"
        case .quicDistrusted:
            return "quic to this server died young before: connected over \(self.carrier) after \(milliseconds)"
        case .quicFailed:
            let cause = self.attempts.first { $0.carrier == .quic && $0.error != nil }?.error
            return
                "quic failed (\(cause?.description ?? "unknown")): fell back to \(self.carrier) after \(milliseconds)"
        }
    }

    /// Where QUIC was tried, did not fail, and heard nothing.
    private var silentQUICAddresses: [String] {
        self.attempts.filter {
            $0.carrier == .quic && $0.heardAfter == nil && $0.error == nil && $0.address != self.address
        }
        .map(\.address.hostAndPort)
    }

    /// The address family that QUIC was not tried over, though TCP was.
    private var leftUntried: String? {
        func families(_ carrier: Carrier) -> Set<Bool> {
            Set(self.attempts.filter { $0.carrier == carrier }.map { $0.address.protocol == .inet6 })
        }
        return families(.tls).subtracting(families(.quic)).first.map { $0 ? "IPv6" : "IPv4" }
    }

    static func milliseconds(_ duration: TimeAmount) -> String {
        "\(duration.nanoseconds / 1_000_000).\(duration.nanoseconds / 100_000 % 10) ms"
    }
}
