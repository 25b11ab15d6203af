// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
package import NIOCore

/// The parts of a UDP socket's work that need no connection: sorting datagrams, refusing versions, stateless resets.
package struct QUICEndpointCore: Sendable {
    /// Our connection IDs on this socket.
    package let connectionIDs: QUICConnectionIDSource
    private let randomness: QUICRandomness

    package init(connectionIDs: QUICConnectionIDSource, randomness: QUICRandomness = .system) {
        self.connectionIDs = connectionIDs
        self.randomness = randomness
    }

    package enum Classification: Sendable {
        /// A packet for the connection that owns this destination connection ID. When none does: `initial` is set if
        /// the packet may open one (a valid client Initial in a datagram of at least 1200 bytes); else it is dropped,
        /// or, if `isShortHeader`, answered with a stateless reset.
        case existing(QUICConnectionID, initial: QUICInitial?, isShortHeader: Bool)
        /// A long header of a version that we do not speak: send these bytes back.
        case versionNegotiation(reply: ByteBuffer)
        /// Not QUIC, or nothing to answer.
        case drop
    }

    /// Says what to do with a datagram, from its first packet.
    package func classify(_ datagram: UnsafeRawBufferPointer) -> Classification {
        guard let base = datagram.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return .drop }
        let header = tern_quic_inspect(base, datagram.count, self.connectionIDs.length)
        let destination = QUICConnectionID(header.destination)
        switch header.kind {
        case TERN_QUIC_KIND_SHORT: return .existing(destination, initial: nil, isShortHeader: true)
        case TERN_QUIC_KIND_LONG: return .existing(destination, initial: nil, isShortHeader: false)
        case TERN_QUIC_KIND_INITIAL:
            let initial = QUICInitial(
                version: header.version, destinationConnectionID: destination,
                sourceConnectionID: QUICConnectionID(header.source), token: Self.token(of: header))
            return .existing(destination, initial: initial, isShortHeader: false)
        case TERN_QUIC_KIND_UNKNOWN_VERSION: return self.refuseVersion(of: datagram, at: base)
        default: return .drop
        }
    }

    /// Tokens that cannot be ours are not worth a copy.
    private static func token(of header: tern_quic_header) -> [UInt8] {
        switch tern_quic_token_kind_of(header.token, header.token_length) {
        case TERN_QUIC_TOKEN_RETRY, TERN_QUIC_TOKEN_REGULAR:
            Array(UnsafeBufferPointer(start: header.token, count: header.token_length))
        default: []
        }
    }

    /// A new connection ID of ours.
    package func makeConnectionID() -> QUICConnectionID {
        let prefix = self.connectionIDs.prefix.prefix(self.connectionIDs.length - 8)
        return QUICConnectionID(prefix + self.randomness.bytes(count: self.connectionIDs.length - prefix.count))
    }

    private func refuseVersion(
        of datagram: UnsafeRawBufferPointer, at base: UnsafePointer<UInt8>
    ) -> Classification {
        var reply = ByteBuffer()
        let random = self.randomness.bytes(count: 1)[0]
        let written = reply.writeWithUnsafeMutableBytes(minimumWritableBytes: 1200) { space in
            tern_quic_write_version_negotiation(
                space.baseAddress?.assumingMemoryBound(to: UInt8.self), space.count, base, datagram.count, random)
        }
        return written > 0 ? .versionNegotiation(reply: reply) : .drop
    }

    /// Writes a stateless reset (RFC 9000, section 10.3) for a datagram whose connection is unknown.
    ///
    /// - Returns: the bytes written, always fewer than the datagram has, so that two ends that reset each other stop; 0
    ///   when
    ///   none may be sent. The caller limits how often it asks.
    package func statelessReset(
        for datagram: UnsafeRawBufferPointer, into buffer: UnsafeMutableRawBufferPointer
    ) -> Int {
        // RFC 9000, section 10.3.3: one byte shorter than a packet of 43 bytes or fewer. A keep-alive of a client is one, and often
        // the first thing that it sends after the server's restart.
        guard case .existing(let id, _, true) = self.classify(datagram) else { return 0 }
        let packet = UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(min(datagram.count - 1, 42)))
        guard packet.count > 16 + 5 else { return 0 }
        let random = self.randomness.bytes(count: packet.count - 16)
        return self.connectionIDs.resetSecret.bytes.withUnsafeBufferPointer { secret in
            tern_quic_write_stateless_reset(
                packet.baseAddress?.assumingMemoryBound(to: UInt8.self), packet.count, id.native, secret.baseAddress,
                secret.count, random, random.count)
        }
    }
}

/// The header of a client's first packet.
package struct QUICInitial: Sendable, Hashable {
    package var version: UInt32
    /// What the client chose for us; route it to the new connection too.
    package var destinationConnectionID: QUICConnectionID
    package var sourceConnectionID: QUICConnectionID
    /// Made like one of ours; empty otherwise.
    package var token: [UInt8] = []
    /// What the token proved; ``QUICAddressTokens/evidence(in:from:wallTime:)`` says.
    package var validation = Validation.none

    package enum Validation: Sendable, Hashable {
        /// Nothing: three times the bytes that came may be sent (RFC 9000, section 8.1).
        case none
        /// The client answered a Retry.
        ///
        /// `original`: where its first Initial was sent to.
        case retry(original: QUICConnectionID)
        /// The client was at this address before.
        case token
    }
}
