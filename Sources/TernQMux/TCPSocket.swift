// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

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

/// The socket beneath a TCP channel, for what NIO has no name for. Valid while the channel is active; used on its event loop.
struct TCPSocket {
    private let descriptor: CInt

    init?(_ channel: any Channel) {
        let handle = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
            $0
        }
        guard let handle else { return nil }
        self.descriptor = handle
        self.limitUnsentBytes()
    }

    /// What waits in the kernel can't be overtaken any more, so little should (TCP_NOTSENT_LOWAT).
    private func limitUnsentBytes() {
        #if os(Linux)
        var limit: CInt = 128 << 10
        // A kernel that refuses only makes urgent bytes wait longer.
        _ = setsockopt(
            self.descriptor, CInt(IPPROTO_TCP), TCP_NOTSENT_LOWAT, &limit, socklen_t(MemoryLayout.size(ofValue: limit)))
        #endif
    }

    /// Adds what the kernel measured (TCP_INFO).
    func complete(_ statistics: inout ConnectionStatistics) {
        #if os(Linux)
        var info = tcp_info()
        var size = socklen_t(MemoryLayout<tcp_info>.size)
        guard getsockopt(self.descriptor, CInt(IPPROTO_TCP), TCP_INFO, &info, &size) == 0 else { return }
        statistics.smoothedRoundTripTime = .microseconds(Int64(info.tcpi_rtt))
        statistics.congestionWindow = UInt64(info.tcpi_snd_cwnd) * UInt64(info.tcpi_snd_mss)
        statistics.bytesInFlight = UInt64(info.tcpi_unacked) * UInt64(info.tcpi_snd_mss)
        statistics.packetsLost = UInt64(info.tcpi_total_retrans)
        #endif
    }
}
