// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Tern

/// What makes the stateless resets, address tokens and session tickets of a server, kept in its data directory: the same after a
/// restart, so that clients learn at once that their connections are gone and come back without a whole handshake; and
/// different from that of every other server, also of one with the same certificate, which must not be able to make this one's
/// resets (RFC 9000, section 21.11).
struct ServerSecret {
    static let count = 32

    private let bytes: [UInt8]

    /// Reads the secret, or draws it when there is none.
    ///
    /// Whoever calls has the data directory for itself.
    ///
    /// - Parameter tell: hears what an operator should know of the file.
    static func load(directory: String, tell: (String) -> Void) throws(CommandError) -> ServerSecret {
        let file = NamedFile("\(directory)/server.secret", role: "server secret")
        if let bytes = try file.readKept(isSecret: true, tell: tell) {
            guard bytes.count == Self.count else {
                throw file.error("has \(bytes.count) bytes and not \(Self.count): remove it, and another one is made")
            }
            return ServerSecret(bytes: bytes)
        }
        var generator = SystemRandomNumberGenerator()
        let bytes = (0..<Self.count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        try file.keep(bytes, isSecret: true)
        return ServerSecret(bytes: bytes)
    }

    /// For `QUICServerOptions.secret`.
    func quic() throws -> [UInt8] { try DerivedSecret.derive(from: self.bytes, for: "tern serve quic", count: 32) }

    /// For `TLSTickets.secret`.
    func tickets() throws -> [UInt8] {
        try DerivedSecret.derive(from: self.bytes, for: "tern serve tickets", count: 64)
    }
}
