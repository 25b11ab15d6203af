// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
package import NIOCore
package import TernTransport

// 0-RTT data (RFC 8446, section 2.3), and new keys (section 4.6.3).
extension TLSStream {
    /// Client, before the first ``handshake()``: queues bytes for the first flight.
    ///
    /// - Returns: whether they go out early; at most ``TLSSession/earlyDataLimit`` of all calls together do.
    package func writeEarly(_ plaintext: ByteBuffer) -> Bool {
        plaintext.withUnsafeReadableBytes { memory in
            gnutls_record_send_early_data(self.session.handle, memory.baseAddress, memory.count) >= 0
        }
    }

    /// Server, after each ``handshake()``: takes what came before the end of the handshake. It is kept within the limit that
    /// the tickets told.
    package func readEarly() -> ByteBuffer? {
        var buffer = ByteBuffer()
        var status = 0
        repeat {
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 4096) { memory in
                status = gnutls_record_recv_early_data(self.session.handle, memory.baseAddress, memory.count)
                return max(0, status)
            }
        } while status > 0
        return buffer.readableBytes > 0 ? buffer : nil
    }

    /// Protects what is written from now on by new keys; the peer is told, and keeps its own.
    ///
    /// It is not asked to change its keys, too: GnuTLS takes two ends that ask each other at the same time for an attack.
    package func updateKeys() throws(TransportError) {
        let status = gnutls_session_key_update(self.session.handle, 0)
        guard status == GNUTLS_E_SUCCESS else { throw self.session.error(for: status) }
    }
}
