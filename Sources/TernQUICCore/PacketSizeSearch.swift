// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// Says how large packets may be: facts in, a size out (DPLPMTUD, RFC 8899).
///
/// On a path inside this machine, whose loopback device takes 64 KiB, it searches with the stream's own bytes as probes,
/// because ngtcp2 tries no more than 1444 bytes. A probe counts as arrived when its bytes are acknowledged before they could
/// have been sent again. Something between the ends that takes only smaller datagrams, such as a relay, costs one lost packet.
/// On every other path ngtcp2 searches upwards.
///
/// On all of them, when large packets stop to arrive the size falls to what every path takes (a black hole, RFC 8899, section
/// 4.3), which ngtcp2 never does, and the next attempt waits longer each time.
struct PacketSizeSearch {
    /// Every QUIC path takes this much (RFC 9000, section 14).
    static let smallest = 1200

    private struct Probe {
        let size: Int
        let stream: StreamID
        /// The stream offset after its last byte.
        let end: UInt64
        /// Bytes in packets since then that were not new.
        var repeatedBytes = 0
    }

    /// The largest packet to write now.
    private(set) var size: Int
    let largest: Int
    /// Whether to look for larger sizes here; otherwise ngtcp2 does.
    let searches: Bool
    private let steps: [Int]
    private var probe: Probe?
    private var failures = 0
    /// Steps from here on failed; until then they are not tried again.
    private var ceiling = Int.max
    private var ceilingFallsAt: UInt64 = 0
    /// Since when packets above the smallest size wait for an acknowledgement.
    private var waitingSince: UInt64?

    init(_ configuration: QUICConfiguration, path: QUICPath) {
        let ordinary = configuration.maximumUDPPayloadSize
        self.searches =
            configuration.discoversPathMTU && path.isInsideHost && configuration.sameHostUDPPayloadSize > ordinary
        self.largest = self.searches ? configuration.sameHostUDPPayloadSize : ordinary
        self.steps = [ordinary, self.largest]
        self.size = self.searches ? Self.smallest : ordinary
    }

    // MARK: Probes

    /// How large a probe should be sent, if any.
    mutating func probeSize(now: UInt64) -> Int? {
        guard self.size < self.largest, self.probe == nil else { return nil }
        if now >= self.ceilingFallsAt { self.ceiling = .max }
        guard self.searches else {
            // ngtcp2 still knows what it found, and nothing but larger packets shows whether they pass again.
            if self.ceiling == .max { self.size = self.largest }
            return nil
        }
        return self.steps.first { $0 > self.size && $0 < self.ceiling }
    }

    mutating func probeSent(of bytes: Int, newBytes: Int, stream: StreamID, end: UInt64, now: UInt64) {
        // Congestion control or another frame may have cut it short: then it proves nothing.
        guard let step = self.steps.first(where: { $0 > self.size }), bytes > self.size, newBytes > bytes / 2 else {
            return self.packetWritten(bytes, newBytes: newBytes, now: now)
        }
        self.probe = Probe(size: min(step, bytes), stream: stream, end: end)
    }

    /// Any other packet was written.
    ///
    /// - Parameter found: the largest size that ngtcp2 has found.
    mutating func packetWritten(_ bytes: Int, newBytes: Int, found: Int = .max, now: UInt64) {
        // ngtcp2's own probes are larger than that, may well be lost, and nobody tells when they arrive.
        let isProbe = !self.searches && newBytes == 0 && bytes > found
        if bytes > Self.smallest, !isProbe, self.waitingSince == nil { self.waitingSince = now }
        guard var probe else { return }
        probe.repeatedBytes += max(0, bytes - newBytes - Self.overhead)
        self.probe = probe
        if probe.repeatedBytes > probe.size / 2 { self.failed(at: probe.size, now: now) }
    }

    /// A datagram arrived.
    mutating func acknowledgedDatagram() {
        self.waitingSince = nil
    }

    /// Everything of a stream below `offset` arrived.
    mutating func acknowledged(_ stream: StreamID, upTo offset: UInt64) {
        self.waitingSince = nil
        guard let probe else {
            // A while after a fall: they pass again.
            if self.size == self.largest { self.failures = 0 }
            return
        }
        guard probe.stream == stream, offset >= probe.end else { return }
        self.probe = nil
        self.size = max(self.size, probe.size)
        self.failures = 0
    }

    /// - Parameter probeTimeout: RFC 9002, section 6.2.1, in nanoseconds.
    mutating func timePassed(probeTimeout: UInt64, now: UInt64) {
        guard let waitingSince, now &- waitingSince > 3 &* probeTimeout, self.size > Self.smallest else { return }
        let lost = self.size
        self.size = Self.smallest
        self.failed(at: lost, now: now)
    }

    /// The other path may take less.
    mutating func pathChanged() {
        self.size = self.searches ? Self.smallest : self.largest
        self.probe = nil
        self.waitingSince = nil
        self.ceiling = .max
        self.failures = 0
    }

    private mutating func failed(at size: Int, now: UInt64) {
        self.probe = nil
        self.waitingSince = nil
        self.ceiling = min(self.ceiling, size)
        self.failures = min(self.failures + 1, 10)
        self.ceilingFallsAt = now &+ Self.pause << UInt64(self.failures)
    }

    /// Header, tag and frame headers of a packet.
    private static let overhead = 64
    /// Twice this long nothing is tried again after the first failure; then twice that.
    private static let pause: UInt64 = 5_000_000_000
}

extension QUICPath {
    /// Whether both ends are on this machine.
    var isInsideHost: Bool {
        self.remote.isLoopback || (self.remote.hasAddress && self.remote.hasSameAddress(as: self.local))
    }
}

extension SocketAddress {
    fileprivate var hasAddress: Bool { self.ipAddress.map { $0 != "0.0.0.0" && $0 != "::" } ?? false }

    fileprivate func hasSameAddress(as other: SocketAddress) -> Bool { self.ipAddress == other.ipAddress }

    /// 127.0.0.0/8, ::1, or the former written as IPv6.
    fileprivate var isLoopback: Bool {
        guard let text = self.ipAddress else { return false }
        return text == "::1" || text.hasPrefix("127.") || text.hasPrefix("::ffff:127.")
    }
}
