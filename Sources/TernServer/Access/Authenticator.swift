// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages

/// Who a client says it is, and has proven to be.
struct ProvenClaim: Sendable, Hashable {
    var user: Name
    var device: Name
    /// Seconds since 1970; `nil` for what does not end.
    var expires: Int64?
}

/// Turns what a client shows into a user and a device.
struct Authenticator: Sendable {
    let serverName: Name
    let secret: AccessSecret?
    let acceptsDevelopmentTokens: Bool

    /// - Parameter now: seconds since 1970.
    func identify(_ text: String, now: Int64) throws(Failure) -> ProvenClaim {
        // By bytes: a combining mark behind the colon makes another character of it.
        if self.acceptsDevelopmentTokens, text.utf8.starts(with: "dev:".utf8) {
            return try Self.developer(text.utf8.dropFirst(4))
        }
        guard let secret else { throw Failure(.unauthenticated, "this server takes development tokens only: dev:USER") }
        do throws(AccessError) {
            let token = try AccessToken.verify(text, secret: secret, audience: self.serverName, now: now)
            return ProvenClaim(user: token.user, device: token.device, expires: token.expires)
        } catch {
            throw Failure(Self.code(error.code), error.message)
        }
    }

    /// `USER` or `USER/DEVICE`.
    private static func developer(_ text: Substring.UTF8View) throws(Failure) -> ProvenClaim {
        let parts = text.split(separator: UInt8(ascii: "/"), maxSplits: 1, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        do throws(WireError) {
            let device = parts.count > 1 ? parts[1] : AccessToken.defaultDevice
            return ProvenClaim(user: try Name(parts.first ?? ""), device: try Name(device))
        } catch {
            throw Failure(.invalidName, "the token dev:USER/DEVICE names no valid user or device: \(error.message)")
        }
    }

    private static func code(_ code: AccessError.Code) -> ErrorCode {
        switch code {
        case .expired: .tokenExpired
        case .notYetValid: .tokenNotYetValid
        case .wrongAudience: .wrongAudience
        case .invalidName: .invalidName
        case .weakSecret, .malformed, .unsupportedAlgorithm, .wrongSignature, .noSecret: .unauthenticated
        }
    }
}
