// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
package import TernTransport

/// What protects the 1-RTT packets of one direction (RFC 9001, section 5), by the secret that TLS logs: with it a test writes
/// packets that no end of ours would, and reads what an end of ours wrote.
package struct QUICPacketKeys: Sendable {
    private let key: [UInt8]
    private let iv: [UInt8]
    private let headerKey: [UInt8]
    private let secret: [UInt8]

    /// - Parameter secret: of TLS_AES_128_GCM_SHA256 or TLS_AES_256_GCM_SHA384, by its length.
    package init(secret: [UInt8]) { self.init(secret: secret, headerKey: nil) }

    private init(secret: [UInt8], headerKey: [UInt8]?) {
        let size = secret.count == 48 ? 32 : 16
        self.secret = secret
        self.key = Self.expand(secret, "quic key", size)
        self.iv = Self.expand(secret, "quic iv", 12)
        self.headerKey = headerKey ?? Self.expand(secret, "quic hp", size)
    }

    /// What protects Initial packets (RFC 9001, section 5.2).
    ///
    /// - Parameter destination: that the client chose for the server.
    package static func initial(destination: [UInt8], sentBy sender: ConnectionRole) -> QUICPacketKeys {
        let salt: [UInt8] = [
            0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb,
            0x7f, 0x0a,
        ]
        let secret = Self.withDatum(destination) { destination in
            Self.withDatum(salt) { salt in
                var destination = destination
                var salt = salt
                var output = [UInt8](repeating: 0, count: 32)
                precondition(gnutls_hkdf_extract(GNUTLS_MAC_SHA256, &destination, &salt, &output) == 0)
                return output
            }
        }
        return QUICPacketKeys(secret: Self.expand(secret, sender == .client ? "client in" : "server in", 32))
    }

    /// An Initial packet without a token that fills a datagram of 1200 bytes.
    package func sealInitial(
        _ frames: [UInt8], number: UInt64, to destination: [UInt8], from source: [UInt8]
    ) -> [UInt8] {
        let ids = [UInt8(destination.count)] + destination + [UInt8(source.count)] + source
        let front = [0xc3, 0, 0, 0, 1] + ids + [0]
        let length = 1200 - front.count - 2
        let truncated = (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * UInt64($0))) }
        let header = front + [UInt8(0x40 | length >> 8), UInt8(length & 0xff)] + truncated
        let padded = frames + [UInt8](repeating: 0, count: length - 4 - 16 - frames.count)
        var packet = header + self.protect(padded, number: number, header: header)
        self.mask(&packet, numberAt: header.count - 4, length: 4)
        return packet
    }

    /// The keys after the next update (RFC 9001, section 6.1).
    package func updated() -> QUICPacketKeys {
        QUICPacketKeys(secret: Self.expand(self.secret, "quic ku", self.secret.count), headerKey: self.headerKey)
    }

    /// A packet with a short header and a packet number of four bytes.
    package func seal(_ frames: [UInt8], number: UInt64, to destination: [UInt8], keyPhase: Bool = false) -> [UInt8] {
        let truncated = (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * UInt64($0))) }
        let header = [0x43 | (keyPhase ? 0x04 : 0)] + destination + truncated
        var packet = header + self.protect(frames, number: number, header: header)
        self.mask(&packet, numberAt: 1 + destination.count, length: 4)
        return packet
    }

    /// What is in a packet with a short header; `nil` if these keys do not fit.
    ///
    /// - Parameters:
    ///   - size: of its destination connection ID.
    ///   - largest: the largest packet number so far.
    package func open(
        _ packet: [UInt8], connectionIDSize size: Int, largest: UInt64
    ) -> (number: UInt64, frames: [UInt8])? {
        guard packet.count >= 1 + size + 20, packet[0] & 0x80 == 0 else { return nil }
        var header = Array(packet.prefix(1 + size + 4))
        let mask = self.headerMask(Array(packet[(5 + size)..<(21 + size)]))
        header[0] ^= mask[0] & 0x1f
        let length = Int(header[0] & 3) + 1
        for position in 0..<length { header[1 + size + position] ^= mask[1 + position] }
        header.removeLast(4 - length)
        let truncated = header.suffix(length).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let number = Self.expanded(truncated, length: length, largest: largest)
        return self.unprotect(Array(packet[header.count...]), number: number, header: header).map { (number, $0) }
    }

    /// RFC 9000, appendix A.3.
    private static func expanded(_ truncated: UInt64, length: Int, largest: UInt64) -> UInt64 {
        let window = UInt64(1) << (8 * UInt64(length))
        let expected = largest + 1
        let candidate = (expected & ~(window - 1)) | truncated
        if candidate + window / 2 <= expected { return candidate + window }
        if candidate > expected + window / 2, candidate >= window { return candidate - window }
        return candidate
    }

    // MARK: GnuTLS

    private func mask(_ packet: inout [UInt8], numberAt position: Int, length: Int) {
        let mask = self.headerMask(Array(packet[(position + 4)..<(position + 20)]))
        packet[0] ^= mask[0] & (packet[0] & 0x80 == 0 ? 0x1f : 0x0f)
        for index in 0..<length { packet[position + index] ^= mask[1 + index] }
    }

    /// AES of one block (RFC 9001, section 5.4.3), which is what CBC makes of the first.
    private func headerMask(_ sample: [UInt8]) -> [UInt8] {
        var zeros = [UInt8](repeating: 0, count: 16)
        let algorithm = self.headerKey.count == 32 ? GNUTLS_CIPHER_AES_256_CBC : GNUTLS_CIPHER_AES_128_CBC
        return Self.withDatum(self.headerKey) { key in
            zeros.withUnsafeMutableBufferPointer { vector in
                var handle: gnutls_cipher_hd_t?
                var vector = gnutls_datum_t(data: vector.baseAddress, size: 16)
                var key = key
                precondition(gnutls_cipher_init(&handle, algorithm, &key, &vector) == 0)
                defer { gnutls_cipher_deinit(handle) }
                var block = [UInt8](repeating: 0, count: 16)
                precondition(gnutls_cipher_encrypt2(handle, sample, 16, &block, 16) == 0)
                return block
            }
        }
    }

    private func nonce(_ number: UInt64) -> [UInt8] {
        var nonce = self.iv
        for index in 0..<8 { nonce[11 - index] ^= UInt8(truncatingIfNeeded: number >> (8 * UInt64(index))) }
        return nonce
    }

    private func withAEAD<Result>(_ body: (gnutls_aead_cipher_hd_t?) -> Result) -> Result {
        let algorithm = self.key.count == 32 ? GNUTLS_CIPHER_AES_256_GCM : GNUTLS_CIPHER_AES_128_GCM
        return Self.withDatum(self.key) { key in
            var key = key
            var handle: gnutls_aead_cipher_hd_t?
            precondition(gnutls_aead_cipher_init(&handle, algorithm, &key) == 0)
            defer { gnutls_aead_cipher_deinit(handle) }
            return body(handle)
        }
    }

    private func protect(_ frames: [UInt8], number: UInt64, header: [UInt8]) -> [UInt8] {
        self.withAEAD { handle in
            var sealed = [UInt8](repeating: 0, count: frames.count + 16)
            var count = sealed.count
            let nonce = self.nonce(number)
            let status = gnutls_aead_cipher_encrypt(
                handle, nonce, nonce.count, header, header.count, 16, frames, frames.count, &sealed, &count)
            precondition(status == 0 && count == sealed.count)
            return sealed
        }
    }

    private func unprotect(_ sealed: [UInt8], number: UInt64, header: [UInt8]) -> [UInt8]? {
        self.withAEAD { handle in
            var frames = [UInt8](repeating: 0, count: sealed.count)
            var count = frames.count
            let nonce = self.nonce(number)
            let status = gnutls_aead_cipher_decrypt(
                handle, nonce, nonce.count, header, header.count, 16, sealed, sealed.count, &frames, &count)
            return status == 0 ? Array(frames.prefix(count)) : nil
        }
    }

    /// HKDF-Expand-Label (RFC 8446, section 7.1).
    private static func expand(_ secret: [UInt8], _ label: String, _ count: Int) -> [UInt8] {
        let label = Array("tls13 \(label)".utf8)
        let info = [0, UInt8(count), UInt8(label.count)] + label + [0]
        return Self.withDatum(secret) { secret in
            Self.withDatum(info) { info in
                var secret = secret
                var info = info
                var output = [UInt8](repeating: 0, count: count)
                let algorithm = secret.size == 48 ? GNUTLS_MAC_SHA384 : GNUTLS_MAC_SHA256
                precondition(gnutls_hkdf_expand(algorithm, &secret, &info, &output, count) == 0)
                return output
            }
        }
    }

    private static func withDatum<Result>(_ bytes: [UInt8], _ body: (gnutls_datum_t) -> Result) -> Result {
        var bytes = bytes
        let count = UInt32(bytes.count)
        return bytes.withUnsafeMutableBufferPointer { body(gnutls_datum_t(data: $0.baseAddress, size: count)) }
    }
}
