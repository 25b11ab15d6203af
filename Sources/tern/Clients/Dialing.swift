// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import Tern
internal import TernMessages

extension ConnectionOptions {
    /// What the options say about whom to trust, and by which carrier.
    ///
    /// - Throws: ``CommandError`` for a CA file or a pin that cannot be used.
    func makeConnector(logger: Logger) throws -> Connector {
        try Connector(
            applicationProtocol: .messages, tls: TLSClientConfiguration(trust: try self.trust()),
            policy: ConnectionPolicy(self.carrier.mode), serverName: self.serverName, logger: logger)
    }

    private func trust() throws(CommandError) -> TLSTrust {
        if let pin {
            guard let digest = Self.digest(pin) else {
                throw CommandError(
                    .usage, "--pin takes the 32 bytes of a SHA-256, in base64 or as 64 hexadecimal digits")
            }
            return .pinned(subjectPublicKeyInfoSHA256: [digest])
        }
        guard let ca else { return .system }
        return .certificateAuthorities(pem: try NamedFile(ca, role: "CA").read())
    }

    /// 32 bytes from base64 (44 characters) or hexadecimal digits (64); `nil` for anything else.
    static func digest(_ text: String) -> [UInt8]? {
        if text.utf8.count == 64 {
            let digits = text.compactMap(\.hexDigitValue)
            guard digits.count == 64 else { return nil }
            return stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
        }
        guard text.utf8.count == 44, text.hasSuffix("=") else { return nil }
        var bits: UInt32 = 0
        var bytes: [UInt8] = []
        for (index, character) in text.utf8.dropLast().enumerated() {
            guard let value = Self.base64Value(character) else { return nil }
            bits = bits << 6 | UInt32(value)
            if index % 4 > 0 { bytes.append(UInt8(truncatingIfNeeded: bits >> (6 - 2 * UInt32(index % 4)))) }
        }
        return bytes.count == 32 ? bytes : nil
    }

    private static func base64Value(_ character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
