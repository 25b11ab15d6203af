// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
package import NIOCore

/// The tokens with which clients prove their address (RFC 9000, section 8.1), and the packets around them.
///
/// Stateless: what a token says is sealed with a key that is derived from the secret, so every server with the same
/// secret understands it. Times are wall-clock time, so that a token outlives the process that made it.
package struct QUICAddressTokens: Sendable {
    private let secret: [UInt8]
    /// How long a token of a NEW_TOKEN frame is good for.
    private let lifetime: TimeAmount

    package init(secret: QUICResetSecret, lifetime: TimeAmount) {
        self.secret = secret.bytes
        self.lifetime = lifetime
    }

    /// What a client's first packet shows.
    package enum Evidence: Sendable, Equatable {
        /// No token, or one that is too old, was used up, or is of another server: as if there were none (RFC 9000,
        /// section 8.1.3).
        case none
        /// The address is proven.
        case proven(QUICInitial.Validation)
        /// A Retry token that does not hold. A client that gets no answer would only send it again (RFC 9000, section
        /// 8.1.2).
        case badRetryToken
    }

    /// Checks the token of an Initial.
    ///
    /// - Parameter wallTime: the time since 1970.
    package func evidence(in initial: QUICInitial, from remote: SocketAddress, wallTime: TimeAmount) -> Evidence {
        guard !initial.token.isEmpty else { return .none }
        let now = Self.nanoseconds(wallTime)
        let header = initial.native
        return initial.token.withUnsafeBufferPointer { token in
            switch tern_quic_token_kind_of(token.baseAddress, token.count) {
            case TERN_QUIC_TOKEN_RETRY:
                var original = tern_quic_cid()
                let holds = self.withAddress(remote) { address, length, secret in
                    tern_quic_verify_retry_token(
                        header, token.baseAddress, token.count, address, length, secret.baseAddress, secret.count,
                        Self.nanoseconds(Self.retryLifetime), now, &original)
                }
                return holds ? .proven(.retry(original: QUICConnectionID(original))) : .badRetryToken
            case TERN_QUIC_TOKEN_REGULAR:
                let holds = self.withAddress(remote) { address, length, secret in
                    tern_quic_verify_token(
                        token.baseAddress, token.count, address, length, secret.baseAddress, secret.count,
                        Self.nanoseconds(self.lifetime), now)
                }
                return holds ? .proven(.token) : .none
            default:
                return .none
            }
        }
    }

    /// Answers an Initial with a Retry (RFC 9000, section 17.2.5), which is far shorter than the datagram that the
    /// Initial came in.
    ///
    /// - Parameter source: a new connection ID of ours, to which the client sends its next Initial.
    /// - Returns: the bytes written; 0 when the buffer is too short.
    package func retry(
        _ initial: QUICInitial, from source: QUICConnectionID, to remote: SocketAddress, wallTime: TimeAmount,
        into buffer: UnsafeMutableRawBufferPointer
    ) -> Int {
        self.withAddress(remote) { address, length, secret in
            tern_quic_write_retry(
                buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), buffer.count, initial.native, source.native,
                address, length, secret.baseAddress, secret.count, Self.nanoseconds(wallTime))
        }
    }

    /// Refuses an Initial without a connection.
    ///
    /// - Parameter code: the transport error code: its Retry token does not hold, or no connection is taken on.
    /// - Returns: the bytes written; 0 when the buffer is too short.
    package func refuse(
        _ initial: QUICInitial, code: UInt64 = Self.invalidToken, into buffer: UnsafeMutableRawBufferPointer
    ) -> Int {
        tern_quic_write_refusal(
            buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), buffer.count, initial.native, code)
    }

    /// Makes a token for a NEW_TOKEN frame (RFC 9000, section 8.1.3); empty if it cannot be made.
    package func token(for remote: SocketAddress, wallTime: TimeAmount) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 128) { buffer, count in
            count = self.withAddress(remote) { address, length, secret in
                tern_quic_make_token(
                    buffer.baseAddress, buffer.count, address, length, secret.baseAddress, secret.count,
                    Self.nanoseconds(wallTime))
            }
        }
    }

    private func withAddress<Result>(
        _ remote: SocketAddress, _ body: (UnsafePointer<sockaddr>, socklen_t, UnsafeBufferPointer<UInt8>) -> Result
    ) -> Result {
        self.secret.withUnsafeBufferPointer { secret in
            remote.withSockAddr { address, length in body(address, socklen_t(length), secret) }
        }
    }

    private static func nanoseconds(_ amount: TimeAmount) -> UInt64 { UInt64(max(amount.nanoseconds, 0)) }

    /// A client sends its next Initial at once; slow paths and one loss or two are allowed for.
    private static let retryLifetime = TimeAmount.seconds(10)
    /// INVALID_TOKEN (RFC 9000, section 20.1).
    package static let invalidToken: UInt64 = 0xb
}

extension QUICResetSecret {
    /// A secret for one purpose, from which nothing can be learned about `self` or the secrets for others.
    package func derived(for purpose: StaticString) -> QUICResetSecret {
        QUICResetSecret(
            bytes: [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
                purpose.withUTF8Buffer { label in
                    label.withMemoryRebound(to: CChar.self) { label in
                        tern_quic_derive_secret(
                            buffer.baseAddress, self.bytes, self.bytes.count, label.baseAddress, label.count)
                    }
                }
                count = 32
            })
    }
}

extension QUICInitial {
    fileprivate var native: tern_quic_header {
        var header = tern_quic_header()
        header.kind = TERN_QUIC_KIND_INITIAL
        header.version = self.version
        header.destination = self.destinationConnectionID.native
        header.source = self.sourceConnectionID.native
        return header
    }
}
