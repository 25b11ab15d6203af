// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernTransport

/// What happened to a connection; drained with ``QUICConnectionCore/nextEvent()`` after each call that may cause
/// events.
package enum QUICEvent: Sendable {
    /// TLS is done and the peer's certificate is verified: streams may be opened. Comes once, before every stream
    /// event.
    case handshakeCompleted(applicationProtocol: String)
    /// At a server: 0-RTT data came, whose streams are told from now on, before the handshake is done.
    case earlyDataReceived(applicationProtocol: String)
    /// Whether 0-RTT was taken; before `handshakeCompleted`. When it was not, the replayable streams were opened again.
    case earlyDataDecided(accepted: Bool)
    /// RFC 9001, section 4.1.2.
    case handshakeConfirmed
    case streamOpened(StreamID)
    /// In order; `finished` with the last bytes (which may be none).
    case streamReceived(StreamID, bytes: ByteBuffer, finished: Bool)
    case streamWasReset(StreamID, code: UInt64)
    case streamWasStopped(StreamID, code: UInt64)
    case streamWritable(StreamID)
    case streamClosed(StreamID)
    case streamsAvailable(StreamDirection)
    case datagramReceived(ByteBuffer)
    case datagramSettled(tag: UInt64, DatagramFate)
    /// The peer's packets, and so ours, are protected by new keys (RFC 9001, section 6).
    case keysUpdated
    /// The largest UDP payload of the path changed.
    case pathMTUChanged(Int)
    /// We issued a connection ID: route it to this connection.
    case connectionIDIssued(QUICConnectionID)
    /// It is not used any more.
    case connectionIDRetired(QUICConnectionID)
    /// A new path was validated and is in use.
    case pathChanged(QUICPath)
    /// What became of a path that this end, or at a server the client, tried. `.pathChanged` follows if it is in use now.
    case pathSettled(QUICPath, QUICPathOutcome)
    /// A path that was probed with success is not used any more.
    case pathReleased(QUICPath)
    /// The server gave us a token (NEW_TOKEN): show it once, when connecting to that server again.
    case tokenReceived([UInt8])
    /// The end, once and last. Keep the connection, and its connection IDs, and feed it datagrams and deadlines until
    /// ``QUICConnectionCore/isFinished``: it may still owe the peer a CONNECTION_CLOSE (RFC 9000, section 10.2).
    case closed(TransportError)
}
