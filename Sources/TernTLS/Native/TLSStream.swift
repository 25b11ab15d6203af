// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
package import NIOCore
package import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// TLS 1.3 over a byte stream without I/O: ciphertext in and out, plaintext in and out.
///
/// Confined to one event loop. After each call, send what ``takeCiphertext()`` gives, also after an error: it is the alert.
package final class TLSStream {
    /// What ``read(into:limit:)`` found.
    package enum ReadOutcome {
        case bytes
        /// More ciphertext is needed.
        case starved
        /// The peer closed cleanly (close_notify).
        case closed
    }

    package let session: TLSSession
    private let wire = Wire()
    private var isEstablished = false
    /// The peer finished the handshake, too. A server speaks before it knows that.
    package private(set) var isConfirmed = false
    private var hasReadAnything = false
    private var didSendClose = false
    /// Its close_notify came, perhaps right behind bytes.
    private var didPeerClose = false
    /// What broke behind bytes that were still good.
    private var failure: TransportError?

    package init(session: TLSSession) {
        self.session = session
        let pointer = Unmanaged.passUnretained(self.wire).toOpaque()
        gnutls_transport_set_ptr(session.handle, pointer)
        gnutls_transport_set_pull_function(session.handle) { pointer, memory, count in
            Wire.from(pointer).pull(memory, count)
        }
        gnutls_transport_set_vec_push_function(session.handle) { pointer, vectors, count in
            Wire.from(pointer).push(vectors, count)
        }
        gnutls_transport_set_errno_function(session.handle) { pointer in Wire.from(pointer).lastError }
    }

    /// Bytes that wait to be decrypted.
    package var waitingCiphertext: Int { self.wire.inbound.readableBytes }
    /// Bytes that wait for ``takeCiphertext()``.
    package var outboundCiphertext: Int { self.wire.outbound.readableBytes }

    package func receive(_ ciphertext: ByteBuffer) {
        guard !self.didPeerClose else { return }
        var ciphertext = ciphertext
        if self.wire.inbound.readableBytes == 0 {
            self.wire.inbound = ciphertext
        } else {
            self.wire.inbound.writeBuffer(&ciphertext)
        }
    }

    /// The byte stream ended.
    package func receiveEndOfFile() {
        self.wire.isAtEnd = true
    }

    /// A record holds at most 2^14 bytes (RFC 8446, section 5.1); header, content type and tag come on top.
    private static let recordSize = 16_384
    /// The least room for what is decrypted; the rest of a larger record is taken next.
    private static let readSize = 512
    private static let recordOverhead = 22

    /// Goes on with the handshake.
    ///
    /// - Returns: whether this end may write: a client has finished and verified the server; a server has said its part,
    ///   and reads nothing before the client finished, too.
    package func handshake() throws(TransportError) -> Bool {
        guard !self.isEstablished else { return true }
        while true {
            let waiting = self.wire.inbound.readableBytes
            let status = gnutls_handshake(self.session.handle)
            if status == GNUTLS_E_SUCCESS { break }
            if status == GNUTLS_E_AGAIN {
                // Also said after each record of early data, when more may follow it.
                let left = self.wire.inbound.readableBytes
                if left > 0, left < waiting { continue }
                return false
            }
            guard gnutls_error_is_fatal(status) == 0 else { throw self.fail(status) }
        }
        do {
            try self.session.verifyPeer()
        } catch {
            let alert = UInt32(truncatingIfNeeded: (error.wireCode ?? 0) & 0xff)
            _ = gnutls_alert_send(self.session.handle, GNUTLS_AL_FATAL, gnutls_alert_description_t(rawValue: alert))
            throw error
        }
        self.isEstablished = true
        self.isConfirmed = self.session.role == .client || !self.session.didStartEarly
        if self.session.side.asksForCertificates { self.session.sendTicket() }
        return true
    }

    /// Appends decrypted bytes to `buffer`, about `limit` of them. What came before an error is handed out before it.
    package func read(into buffer: inout ByteBuffer, limit: Int) throws(TransportError) -> ReadOutcome {
        if let failure { throw failure }
        if self.didPeerClose { return .closed }
        // Whoever read the ciphertext may use its memory again.
        defer { if self.wire.inbound.readableBytes == 0 { self.wire.inbound = ByteBuffer() } }
        var total = 0
        while total < limit {
            var status = 0
            let waiting = self.wire.inbound.readableBytes
            if waiting == 0, self.isConfirmed, !self.wire.isAtEnd, gnutls_record_check_pending(self.session.handle) == 0
            {
                return total > 0 ? .bytes : .starved
            }
            if total == 0 {
                // Plaintext is shorter than its ciphertext, and a record that arrived in part before adds one more.
                let held = self.wire.pulledSinceRecord > 0 ? Self.recordSize : 0
                buffer.reserveCapacity(minimumWritableBytes: min(limit, waiting + held))
            }
            buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.readSize) { memory in
                status = gnutls_record_recv(self.session.handle, memory.baseAddress, memory.count)
                return max(0, status)
            }
            if status > 0 {
                self.wire.pulledSinceRecord = 0
                self.isConfirmed = true
                self.hasReadAnything = true
                total += status
            } else if status == 0 {
                self.didPeerClose = true
                // Nothing that follows is ever read.
                self.wire.inbound = ByteBuffer()
                return total > 0 ? .bytes : .closed
            } else if status == Int(GNUTLS_E_AGAIN) {
                // Also said after a record that was a ticket or a key update, when more may follow it.
                let left = self.wire.inbound.readableBytes
                if left > 0, left < waiting { continue }
                return total > 0 ? .bytes : .starved
            } else if gnutls_error_is_fatal(Int32(status)) != 0 {
                let error = self.fail(Int32(status))
                guard total > 0 else { throw error }
                self.failure = error
                return .bytes
            }
        }
        return .bytes
    }

    /// Encrypts all of `plaintext`.
    package func write(_ plaintext: ByteBuffer) throws(TransportError) {
        var plaintext = plaintext
        let records = plaintext.readableBytes / Self.recordSize + 1
        self.wire.outbound.reserveCapacity(
            minimumWritableBytes: plaintext.readableBytes + records * Self.recordOverhead)
        while plaintext.readableBytes > 0 {
            var status = 0
            plaintext.readWithUnsafeReadableBytes { memory in
                status = gnutls_record_send(self.session.handle, memory.baseAddress, min(memory.count, Self.recordSize))
                return max(0, status)
            }
            // The push function takes everything, so there is no partial record to resume.
            if status < 0, gnutls_error_is_fatal(Int32(status)) != 0 { throw self.fail(Int32(status)) }
        }
    }

    /// Says that nothing more will be written (close_notify).
    package func close() {
        guard self.isEstablished, !self.didSendClose else { return }
        self.didSendClose = true
        _ = gnutls_bye(self.session.handle, GNUTLS_SHUT_WR)
    }

    /// What must go to the peer now.
    package func takeCiphertext() -> ByteBuffer? {
        guard self.wire.outbound.readableBytes > 0 else { return nil }
        defer { self.wire.outbound = ByteBuffer() }
        return self.wire.outbound
    }

    /// Gives memory for what will be encrypted next, an empty buffer; ``takeCiphertext()`` gives it back. Only when
    /// ``outboundCiphertext`` is 0.
    package func encrypt(into memory: consuming ByteBuffer) {
        self.wire.outbound = memory
    }

    private func fail(_ status: Int32) -> TransportError {
        let error = self.session.error(for: status)
        if status != GNUTLS_E_FATAL_ALERT_RECEIVED, status != GNUTLS_E_PREMATURE_TERMINATION {
            _ = gnutls_alert_send_appropriate(self.session.handle, status)
        }
        guard self.isConfirmed, error.code != .carrierLost else { return error }
        // A client is done before the server has judged its certificate: what comes instead of the first record is the verdict.
        if error.initiator == .peer, error.code == .certificateRejected, !self.hasReadAnything { return error }
        return TransportError(
            .carrierLost, message: error.message, wireCode: error.wireCode, initiator: error.initiator)
    }
}

/// The two directions of the byte stream, as GnuTLS sees them.
private final class Wire {
    var inbound = ByteBuffer()
    var outbound = ByteBuffer()
    /// Whether GnuTLS holds a part of a record.
    var pulledSinceRecord = 0
    var isAtEnd = false
    var lastError: Int32 = 0

    static func from(_ pointer: gnutls_transport_ptr_t?) -> Wire {
        guard let pointer else { preconditionFailure("the session has no transport pointer") }
        return Unmanaged<Wire>.fromOpaque(pointer).takeUnretainedValue()
    }

    func pull(_ memory: UnsafeMutableRawPointer?, _ count: Int) -> Int {
        let available = min(count, self.inbound.readableBytes)
        guard available > 0 else {
            if self.isAtEnd { return 0 }
            self.lastError = EAGAIN
            return -1
        }
        self.inbound.readWithUnsafeReadableBytes { bytes in
            guard let memory, let base = bytes.baseAddress else { return 0 }
            memory.copyMemory(from: base, byteCount: available)
            self.pulledSinceRecord += available
            return available
        }
        return available
    }

    func push(_ vectors: UnsafePointer<giovec_t>?, _ count: Int32) -> Int {
        let pieces = UnsafeBufferPointer(start: vectors, count: Int(count))
        var total = 0
        for piece in pieces {
            self.outbound.writeBytes(UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len))
            total += piece.iov_len
        }
        return total
    }
}
