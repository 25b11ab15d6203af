// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The version of the message layout, in the first six bits of every message, in every version.
public struct ProtocolVersion: RawRepresentable, Sendable, Hashable {
    public static let maximumRawValue: UInt8 = 1 << 6 - 1

    public let rawValue: UInt8

    /// `nil` when `rawValue` needs more than 6 bits.
    public init?(rawValue: UInt8) {
        guard rawValue <= Self.maximumRawValue else { return nil }
        self.rawValue = rawValue
    }

    private init(known rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// The version that Docs/PROTOCOL.md describes.
    public static let one = ProtocolVersion(known: 1)
}

/// The names that TLS negotiates (ALPN, RFC 7301). They differ because the bytes below differ.
public enum MessageProtocol {
    public static let quic = "tern/1"
    /// QMux as in draft-ietf-quic-qmux-02, over TLS over TCP.
    public static let qmux = "tern/1-qx02"
}
