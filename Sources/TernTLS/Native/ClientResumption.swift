// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How a client's session resumes an earlier one, and keeps tickets for later ones.
///
/// An object, so that sessions without are smaller.
final class ClientResumption {
    let cache: TLSSessionCache
    let key: TLSSessionCache.Key
    /// What is resumed; `nil` for a full handshake.
    let entry: TLSSessionCache.Entry?
    /// Whether there is something to send early.
    let offersEarlyData: Bool
    /// What the server proved in this handshake; `nil` before, and in one that resumes.
    private(set) var proof: TLSSessionCache.Proof?
    private let clock: @Sendable () -> Int

    init(
        cache: TLSSessionCache, key: TLSSessionCache.Key, entry: TLSSessionCache.Entry?, offersEarlyData: Bool,
        clock: @escaping @Sendable () -> Int
    ) {
        self.clock = clock
        self.cache = cache
        self.key = key
        self.entry = entry
        self.offersEarlyData = offersEarlyData
    }

    /// The server showed a certificate that is trusted, and is about to prove that it has the key.
    func peerWasVerified(_ certificate: [UInt8]?) {
        let validity = self.key.trust.requiresAuthority ? certificate.flatMap(Self.validity) : nil
        self.proof = TLSSessionCache.Proof(time: self.clock(), validity: validity)
    }

    private static func validity(of certificate: [UInt8]) -> ClosedRange<Int>? {
        guard let leaf = try? LeafCertificate(der: certificate), leaf.notBefore <= leaf.notAfter else { return nil }
        return leaf.notBefore...leaf.notAfter
    }
}
