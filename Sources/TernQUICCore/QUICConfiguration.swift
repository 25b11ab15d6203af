// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernTransport

/// How a connection behaves; the same value serves any number of connections.
package struct QUICConfiguration: Sendable {
    /// What the peer may make us keep, and the timeouts.
    package var limits: ConnectionLimits
    package var congestionControl: CongestionControl = .bbr
    /// The largest UDP payload that path MTU discovery tries; 1200 to 1452 is sensible on Ethernet (RFC 9000, section
    /// 14).
    package var maximumUDPPayloadSize: Int = 1452 {
        didSet { self.maximumUDPPayloadSize = min(max(self.maximumUDPPayloadSize, 1200), 65_507) }
    }
    /// Whether to search for the path's MTU (DPLPMTUD, RFC 8899). The socket must set the don't-fragment bit.
    package var discoversPathMTU: Bool = true
    /// The largest UDP payload on a path that does not leave this machine, where the loopback device takes 64 KiB; a packet
    /// of that size must have arrived before more are sent. At most ``maximumUDPPayloadSize`` switches it off.
    package var sameHostUDPPayloadSize: Int = 16_384 {
        didSet { self.sameHostUDPPayloadSize = min(max(self.sameHostUDPPayloadSize, 0), 65_507) }
    }
    /// Whether clients move, and where to.
    package var paths = QUICPathSettings()
    /// How this endpoint numbers its connections.
    package var connectionIDs: QUICConnectionIDSource
    /// Where unpredictable bytes come from: connection IDs, path challenges, packet number gaps.
    package var randomness: QUICRandomness = .system

    /// What a server gave us before (NEW_TOKEN), to be shown to it; a client's, empty if there is none.
    package var addressToken: [UInt8] = []

    /// Makes what takes the qlog of a connection; `nil` writes none.
    package var makeQlogSink: (@Sendable () -> any QUICQlogSink)?

    /// How far flow control lets the connection's window grow while the application reads as fast as bytes come; it
    /// starts at ``TernTransport/ConnectionLimits/connectionWindow``.
    package var maximumConnectionWindow: Int
    /// The same for each stream's window.
    package var maximumStreamWindow: Int
    /// What connections take the memory from by which their windows grow, as they grow; `nil`: as much as they want.
    package var windowBudget: WindowBudget?

    package init(limits: ConnectionLimits = ConnectionLimits(), connectionIDs: QUICConnectionIDSource) {
        self.limits = limits
        self.connectionIDs = connectionIDs
        self.maximumConnectionWindow = limits.connectionWindow.multipliedReportingOverflow(by: 3).partialValue
        self.maximumStreamWindow = limits.streamWindow.multipliedReportingOverflow(by: 6).partialValue
    }

    /// Which algorithm decides how much may be in flight.
    package enum CongestionControl: Sendable, Hashable {
        /// RFC 9002, section 7.
        case reno
        /// RFC 9438.
        case cubic
        /// The default: it keeps its rate under random loss, where the others collapse.
        case bbr
    }
}

/// What the connection IDs of one endpoint look like.
package struct QUICConnectionIDSource: Sendable {
    /// Their length: QUICConnectionID/serverLength or QUICConnectionID/clientLength.
    package var length: Int
    /// The first bytes of each (a node identifier and the index of the event loop, say); the rest is random. At most
    /// `length - 8` bytes are used.
    package var prefix: [UInt8]
    /// From this every stateless reset token is derived (RFC 9000, section 10.3.2): the same for all sockets of a
    /// server.
    package var resetSecret: QUICResetSecret

    package init(length: Int, prefix: [UInt8] = [], resetSecret: QUICResetSecret) {
        self.length = min(max(length, 8), QUICConnectionID.maximumLength)
        self.prefix = prefix
        self.resetSecret = resetSecret
    }
}

/// 32 unpredictable bytes from which stateless reset tokens are derived.
package struct QUICResetSecret: Sendable {
    package let bytes: [UInt8]

    package init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    package init(randomness: QUICRandomness = .system) {
        self.bytes = randomness.bytes(count: 32)
    }
}

/// A source of unpredictable bytes, as an argument, because a core reads no random source by itself.
package struct QUICRandomness: Sendable {
    private let fillBytes: @Sendable (UnsafeMutableRawBufferPointer) -> Void

    /// - Parameter fill: overwrites the whole buffer. Called on the caller's thread, inside calls to the core.
    package init(fill: @escaping @Sendable (UnsafeMutableRawBufferPointer) -> Void) {
        self.fillBytes = fill
    }

    package func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        self.fillBytes(buffer)
    }

    package func bytes(count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            self.fill(UnsafeMutableRawBufferPointer(buffer))
            initialized = count
        }
    }
}
