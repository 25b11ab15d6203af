// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTLS
package import TernTransport

/// One QUIC connection without I/O: datagrams and time in; datagrams, events and one deadline out.
///
/// Confined to its caller's event loop; not thread-safe. It never reads a clock and never calls back. After each call that
/// takes `now`, and after `close`, the caller drains ``nextEvent()``, sends what ``nextTransmit(into:now:)`` gives until it
/// is `nil`, and arms a timer for ``nextDeadline``.
package final class QUICConnectionCore {
    private init() {}

    /// Starts a handshake towards a server.
    package static func client(
        configuration: QUICConfiguration, tls: TLSSession, serverName: String, path: QUICPath, now: NIODeadline
    ) throws(TransportError) -> QUICConnectionCore { fatalError() }

    /// Answers a client's first packet, which the caller then passes to ``receive(_:path:ecn:now:)``.
    package static func server(
        configuration: QUICConfiguration, tls: TLSSession, initial: QUICInitial, path: QUICPath, now: NIODeadline
    ) throws(TransportError) -> QUICConnectionCore { fatalError() }

    // MARK: Datagrams and time

    /// Takes one UDP payload (not a GRO train: split it first).
    package func receive(_ datagram: UnsafeRawBufferPointer, path: QUICPath, ecn: ECN, now: NIODeadline) {}

    /// Writes the next datagrams to send: one train of at most 64 equal segments, of one path and ECN codepoint.
    ///
    /// - Parameter buffer: at least 1452 bytes; 64 KiB lets a train be as long as the kernel takes.
    /// - Returns: `nil` when there is nothing to send now.
    package func nextTransmit(into buffer: UnsafeMutableRawBufferPointer, now: NIODeadline) -> QUICTransmit? { nil }

    /// When ``deadlineReached(now:)`` must be called; loss detection, delayed acknowledgements, pacing, keep-alive, idle. `nil`: never.
    package var nextDeadline: NIODeadline? { nil }
    package func deadlineReached(now: NIODeadline) {}
    package func nextEvent() -> QUICEvent? { nil }

    /// Nothing is left to do: forget the connection and its connection IDs.
    package var isFinished: Bool { false }
    /// Whether anything of the peer was accepted yet.
    package var hasHeardFromPeer: Bool { false }
    package var isEstablished: Bool { false }

    /// The connection IDs that reach this connection now; for a server, the client's first choice too. Later ones come as events.
    package var connectionIDs: [QUICConnectionID] { [] }

    // MARK: What LoopConnection offers, with its semantics

    package var role: ConnectionRole { fatalError() }
    package var path: QUICPath { fatalError() }
    package var applicationProtocol: String { "" }
    package var peerCertificates: [[UInt8]] { [] }
    package var maximumDatagramSize: Int { 0 }
    package func statistics() -> ConnectionStatistics { ConnectionStatistics() }

    package func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID? { nil }
    package func write(_ bytes: ByteBuffer, to stream: StreamID, finish: Bool) throws(TransportError) -> Bool { false }
    package func reset(_ stream: StreamID, code: UInt64) {}
    package func stopSending(_ stream: StreamID, code: UInt64) {}
    package func setPriority(_ priority: StreamPriority, of stream: StreamID) {}
    package func consumed(_ count: Int, of stream: StreamID) {}
    package func sendDatagram(_ bytes: ByteBuffer) throws(TransportError) -> DatagramOutcome { .dropped }
    /// The CONNECTION_CLOSE leaves with the next ``nextTransmit(into:now:)``; the `.closed` event follows.
    package func close(code: UInt64, reason: String) {}
}
