// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import NIOCore
internal import NIOPosix
internal import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The socket beneath a TCP channel, for what NIO has no name for. Valid while the channel is open; used on its event loop.
struct TCPSocket {
    private let descriptor: CInt

    init?(_ channel: any Channel) {
        let handle = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
            $0
        }
        guard let handle else { return nil }
        self.descriptor = handle
    }

    /// Where the peer is; `nil` when it is gone.
    var peerNetwork: ClientNetwork? {
        let bytes = [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
            count = tern_tcp_peer_address(self.descriptor, buffer.baseAddress)
        }
        return bytes.isEmpty ? nil : ClientNetwork(ipAddress: bytes)
    }

    /// Sets what was asked for, on a socket that is about to connect or to listen; accepted sockets inherit it.
    ///
    /// - Throws: ``TransportError/Code/misuse`` for a congestion control that the kernel does not have or not permit. What else a
    ///   kernel refuses costs speed only.
    func apply(_ options: TCPOptions, unacknowledgedTimeout: TimeAmount?) throws(TransportError) {
        if options.unsentLowWatermark > 0 {
            _ = tern_tcp_set_unsent_low_watermark(self.descriptor, UInt32(clamping: options.unsentLowWatermark))
        }
        if let timeout = unacknowledgedTimeout {
            let milliseconds = UInt32(clamping: max(timeout.nanoseconds / 1_000_000, 1))
            _ = tern_tcp_set_user_timeout(self.descriptor, min(milliseconds, UInt32(Int32.max)))
        }
        guard let name = options.congestionControl else { return }
        let status = tern_tcp_set_congestion_control(self.descriptor, name)
        guard status != 0 else { return }
        let reason =
            switch status {
            case ENOENT: "the kernel has no TCP congestion control called \(name)"
            case EPERM: "the TCP congestion control \(name) is not permitted (net.ipv4.tcp_allowed_congestion_control)"
            default: "the TCP congestion control \(name) can't be set: \(String(cString: strerror(status)))"
            }
        throw TransportError(.misuse, message: reason)
    }

    /// TCP_USER_TIMEOUT; 0 where the kernel has its own number.
    var userTimeout: TimeAmount {
        .milliseconds(Int64(tern_tcp_user_timeout(self.descriptor)))
    }

    /// Bytes that the kernel took and the peer's TCP did not acknowledge; `nil` where the kernel does not tell.
    var unacknowledgedBytes: Int? {
        let count = tern_tcp_unacknowledged(self.descriptor)
        return count < 0 ? nil : Int(count)
    }

    /// The name of the congestion control in use.
    var congestionControl: String? {
        var name = [CChar](repeating: 0, count: 64)
        guard tern_tcp_congestion_control(self.descriptor, &name, UInt32(name.count)) == 0 else { return nil }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Adds what the kernel measured (TCP_INFO).
    func complete(_ statistics: inout ConnectionStatistics) {
        var info = tern_tcp_info()
        guard tern_tcp_info(self.descriptor, &info) == 0 else { return }
        statistics.smoothedRoundTripTime = .microseconds(Int64(info.round_trip_time))
        statistics.roundTripTimeVariation = .microseconds(Int64(info.round_trip_variation))
        if statistics.minimumRoundTripTime == nil, (1..<UInt32.max).contains(info.minimum_round_trip_time) {
            statistics.minimumRoundTripTime = .microseconds(Int64(info.minimum_round_trip_time))
        }
        statistics.congestionWindow = info.congestion_window
        statistics.bytesInFlight = info.in_flight
        if info.slow_start_threshold != .max { statistics.slowStartThreshold = info.slow_start_threshold }
        if info.pacing_rate != .max, info.pacing_rate > 0 { statistics.pacingRate = info.pacing_rate }
        if info.delivery_rate > 0 { statistics.deliveryRate = info.delivery_rate }
        statistics.pathMaximumSize = UInt64(info.segment_size)
        statistics.packetsLost = UInt64(info.retransmitted_segments)
    }
}
