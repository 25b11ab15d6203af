// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernTransport

/// Takes the qlog of one connection (JSON text sequences, RFC 7464), piece by piece; released after the last one.
package protocol QUICQlogSink: AnyObject {
    /// Called once, after the first pieces may have come.
    ///
    /// - Parameter original: the first connection ID that the client chose for the server, by which both ends' logs are matched.
    func begin(_ original: QUICConnectionID, role: ConnectionRole)
    /// Called once at most, after ``begin(_:role:)``: the peer has proven that it receives what is sent to its address. At a client at
    /// once; at a server with a token that was given to that address, or when the handshake is complete. Before it strangers can cause
    /// as many logs as packets.
    func peerIsProven()
    /// The bytes are valid during the call only. It must not block for long.
    func write(_ bytes: UnsafeRawBufferPointer)
}
