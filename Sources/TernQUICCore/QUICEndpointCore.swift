// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

/// The parts of a UDP socket's work that need no connection: sorting datagrams, refusing versions, stateless resets.
package struct QUICEndpointCore: Sendable {
    /// Our connection IDs on this socket.
    package let connectionIDs: QUICConnectionIDSource

    package init(connectionIDs: QUICConnectionIDSource, randomness: QUICRandomness = .system) {
        self.connectionIDs = connectionIDs
    }

    /// Says what to do with a datagram, from its first packet. Look ``Classification/existing(_:)`` up in the routing table:
    /// if it is unknown and the header is short, answer with ``statelessReset(for:into:)``.
    package func classify(_ datagram: UnsafeRawBufferPointer) -> Classification {
        fatalError()
    }

    /// Writes a stateless reset (RFC 9000, section 10.3) for a datagram whose connection is unknown.
    ///
    /// - Returns: the bytes written, always fewer than the datagram has; 0 when none may be sent (too short: a loop of resets
    ///   must end). The caller limits how often it asks.
    package func statelessReset(for datagram: UnsafeRawBufferPointer, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        fatalError()
    }

    package enum Classification: Sendable {
        /// A packet for the connection that owns this destination connection ID. When none does: `initial` is set if the packet
        /// may open one (a valid client Initial in a datagram of at least 1200 bytes); else it is dropped, or, if `isShortHeader`,
        /// answered with a stateless reset.
        case existing(QUICConnectionID, initial: QUICInitial?, isShortHeader: Bool)
        /// A long header of a version that we do not speak: send these bytes back.
        case versionNegotiation(reply: ByteBuffer)
        /// Not QUIC, or nothing to answer.
        case drop
    }
}

/// The header of a client's first packet.
package struct QUICInitial: Sendable, Hashable {
    package var version: UInt32
    /// What the client chose for us; route it to the new connection too.
    package var destinationConnectionID: QUICConnectionID
    package var sourceConnectionID: QUICConnectionID
}
