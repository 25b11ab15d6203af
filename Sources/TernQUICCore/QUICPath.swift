// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

/// The two addresses between which a datagram travels (RFC 9000, section 9).
package struct QUICPath: Hashable, Sendable {
    /// Our end: the address that the socket is bound to, or that the datagram was sent to.
    package var local: SocketAddress
    /// The peer's end.
    package var remote: SocketAddress

    package init(local: SocketAddress, remote: SocketAddress) {
        self.local = local
        self.remote = remote
    }
}

/// The ECN codepoint of a datagram's IP header (RFC 3168, section 5); the raw value is the two bits as on the wire.
package enum ECN: UInt8, Sendable {
    case notECT = 0
    case ect1 = 1
    case ect0 = 2
    case ce = 3
}

/// What QUICConnectionCore/nextTransmit(into:now:) wrote: one or more UDP datagrams back to back.
package struct QUICTransmit: Sendable {
    /// Bytes written, from the start of the buffer.
    package var byteCount: Int
    /// The size of each datagram (UDP_SEGMENT); only the last may be shorter. Equal to `byteCount` when there is one.
    package var segmentSize: Int
    /// Where all of them go, and the address they must come from.
    package var path: QUICPath
    package var ecn: ECN
    /// Nothing more is to be sent now: another call would answer `nil`.
    package var isLast = false
}
