// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport

/// What happened to a QMux connection; the counterparts of ``LoopConnectionHandler``.
package enum QMuxEvent: Sendable, Equatable {
    case streamOpened(StreamID)
    case streamReceived(StreamID, ByteBuffer, finished: Bool)
    case streamWasReset(StreamID, code: UInt64)
    case streamWasStopped(StreamID, code: UInt64)
    case streamWritable(StreamID)
    case streamClosed(StreamID)
    case streamsAvailable(StreamDirection)
    case datagramReceived(ByteBuffer)
    case datagramSettled(UInt64, DatagramFate)
    /// The last event.
    case connectionClosed(TransportError)
}

/// What the core needs from the byte stream that carries it.
package enum QMuxCarrierDemand: Sendable, Hashable {
    /// Keep it open; write what ``QMuxConnectionCore/nextBytes(limit:now:)`` gives.
    case keepOpen
    /// Everything was given out: shut down the sending side gracefully (close_notify, FIN), go on reading.
    case finishSending
    /// Nothing more to send or to hear: shut down the sending side if that was not done, then close it.
    case close
}

/// Numbers of the protocol that an endpoint chooses for itself.
package struct QMuxConfiguration: Sendable, Hashable {
    /// How long a closed connection waits for the peer to shut down its side too.
    package var drainTimeout: TimeAmount = .seconds(3)
    /// The most bytes of one stream in a row, while another of the same urgency waits.
    package var turnSize = 4096
    /// Frames that move nothing forward (pings, credit, resets, padding, empty data) that a peer may send at once, and
    /// how many more each second.
    package var idleFrameBurst = 8192
    package var idleFramesPerSecond = 2048

    package init() {}
}
