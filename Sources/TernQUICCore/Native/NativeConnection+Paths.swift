// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import NIOCore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// What ngtcp2 said about a path.
struct NativePathFact {
    enum Outcome {
        /// It is validated and in use.
        case validated
        case failed
        /// Another path is validated instead.
        case abandoned
        /// A probe was answered; ngtcp2 sends challenges for a while still, and then says `failed`.
        case answered
    }

    var outcome: Outcome
    var path: QUICPath
    /// Nanoseconds since the first PATH_CHALLENGE.
    var elapsed: UInt64
    /// The answered challenge had fewer than 1200 bytes, so ngtcp2 measures the path again before it forgets the old one.
    var isUndersized: Bool
}

extension NativePathFact {
    /// `nil` when an address is of no IP family.
    init?(_ outcome: tern_quic_path_outcome, _ path: tern_quic_path, elapsed: UInt64, isUndersized: Bool) {
        guard let path = QUICPath(native: path) else { return nil }
        self.path = path
        self.elapsed = elapsed
        self.isUndersized = isUndersized
        switch outcome {
        case TERN_QUIC_PATH_VALID: self.outcome = .validated
        case TERN_QUIC_PATH_FAILED: self.outcome = .failed
        case TERN_QUIC_PATH_ANSWERED: self.outcome = .answered
        default: self.outcome = .abandoned
        }
    }
}

extension NativeConnection {
    /// A client: validates `path`, and uses it at once unless it only probes.
    func move(to path: QUICPath, probes: Bool, now: UInt64) -> tern_quic_move_result {
        path.withNative { tern_quic_move(self.quic, $0, probes, now) }
    }

    var peerForbidsMigration: Bool { tern_quic_peer_forbids_migration(self.quic) }
    /// Whether the next packet answers a PATH_CHALLENGE, and must pass on a path of whatever size.
    func owesPathResponse(now: UInt64) -> Bool { tern_quic_owes_response(self.quic, now) }
    /// When the peer does not wait for the answer any more; `.max` if none is owed.
    var pathResponseEnds: UInt64 { tern_quic_owes_until(self.quic) }
}

extension QUICPath {
    init?(native path: tern_quic_path) {
        var local = sockaddr_storage()
        var remote = sockaddr_storage()
        guard let localBytes = path.local, let remoteBytes = path.remote,
            path.local_length <= MemoryLayout<sockaddr_storage>.size,
            path.remote_length <= MemoryLayout<sockaddr_storage>.size
        else { return nil }
        memcpy(&local, localBytes, Int(path.local_length))
        memcpy(&remote, remoteBytes, Int(path.remote_length))
        self.init(local: &local, remote: &remote)
    }
}

extension tern_quic_settings {
    mutating func take(_ paths: QUICPathSettings) {
        self.forbids_migration = paths.forbidsMigration
        self.refuses_preferred_address = paths.refusesPreferredAddress
        if let address = paths.preferredIPv4Address, let port = address.port {
            let count = withUnsafeMutableBytes(of: &self.preferred_ipv4) { Self.copy(address, to: $0) }
            if count == 4 { self.preferred_ipv4_port = UInt16(clamping: port) }
        }
        if let address = paths.preferredIPv6Address, let port = address.port {
            let count = withUnsafeMutableBytes(of: &self.preferred_ipv6) { Self.copy(address, to: $0) }
            if count == 16 { self.preferred_ipv6_port = UInt16(clamping: port) }
        }
    }

    private static func copy(_ address: SocketAddress, to bytes: UnsafeMutableRawBufferPointer) -> Int {
        address.withSockAddr { native, _ in
            withUnsafeTemporaryAllocation(byteCount: 16, alignment: 1) { space in
                let count = tern_ip_address_bytes(native, space.baseAddress?.assumingMemoryBound(to: UInt8.self))
                guard count <= bytes.count else { return 0 }
                bytes.copyBytes(from: space.prefix(count))
                return count
            }
        }
    }
}
