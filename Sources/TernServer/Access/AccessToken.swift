// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Crypto
internal import Foundation
public import TernMessages

/// Who a client is, as a JSON Web Token (RFC 7519) in compact form says it, signed with HS256 (RFC 7515).
///
/// ```swift
/// let token = AccessToken(user: try Name("alice"), audience: try Name("tern"), expires: now + 3600)
/// print(token.signed(with: secret))
/// ```
public struct AccessToken: Sendable, Hashable {
    /// What `dev` says when it is absent.
    public static let defaultDevice = "default"
    /// How far the clocks of who signs and who checks may differ, in seconds.
    public static let clockSkew: Int64 = 60
    /// Longer tokens are refused unread.
    public static let maximumBytes = 8192

    /// `sub`
    public var user: Name
    /// `dev`
    public var device: Name
    /// `aud`: the name of the server that the token is for.
    public var audience: Name
    /// `exp`: seconds since 1970.
    public var expires: Int64
    /// `nbf`: seconds since 1970.
    public var notBefore: Int64?
    /// `iat`: seconds since 1970.
    public var issuedAt: Int64?

    /// - Throws: ``TernMessages/WireError`` when the default device were no name, which it is.
    public init(
        user: Name, device: Name? = nil, audience: Name, expires: Int64, notBefore: Int64? = nil, issuedAt: Int64? = nil
    ) throws(WireError) {
        self.user = user
        if let device { self.device = device } else { self.device = try Name(Self.defaultDevice) }
        self.audience = audience
        self.expires = expires
        self.notBefore = notBefore
        self.issuedAt = issuedAt
    }

    /// The token's text.
    public func signed(with secret: AccessSecret) -> String {
        let claims = Claims(
            sub: self.user.text, dev: self.device.text, aud: .one(self.audience.text), exp: Double(self.expires),
            nbf: self.notBefore.map(Double.init), iat: self.issuedAt.map(Double.init))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings and whole numbers always have a form in JSON.
        let payload = (try? encoder.encode(claims)) ?? Data()
        let text = Data(#"{"alg":"HS256","typ":"JWT"}"#.utf8).base64URL + "." + payload.base64URL
        let signature = HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: secret.key)
        return text + "." + Data(signature).base64URL
    }

    /// Checks a token's text.
    ///
    /// The signature is compared in constant time, and before anything that the token claims is believed.
    ///
    /// - Parameters:
    ///   - text: the token as the client gave it.
    ///   - secret: what this server's tokens are signed with.
    ///   - audience: the name of this server.
    ///   - now: seconds since 1970.
    /// - Throws: ``AccessError``.
    public static func verify(
        _ text: String, secret: AccessSecret, audience: Name, now: Int64
    ) throws(AccessError) -> AccessToken {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard text.utf8.count <= Self.maximumBytes, parts.count == 3, let header = Data(base64URL: parts[0]),
            let payload = Data(base64URL: parts[1]), let signature = Data(base64URL: parts[2])
        else { throw AccessError(.malformed, "this is no JSON web token") }
        guard let names = try? JSONDecoder().decode(Header.self, from: header) else {
            throw AccessError(.malformed, "the token's header cannot be read")
        }
        // The algorithm is ours to choose: a token that asks for another one, or for none, is refused.
        guard names.alg == "HS256", names.crit == nil else {
            throw AccessError(.unsupportedAlgorithm, "tokens are signed with HS256")
        }
        let signed = Data(text.utf8.prefix(parts[0].count + 1 + parts[1].count))
        guard HMAC<SHA256>.isValidAuthenticationCode(signature, authenticating: signed, using: secret.key) else {
            throw AccessError(.wrongSignature, "the token is not signed with this server's secret")
        }
        guard let claims = try? JSONDecoder().decode(Claims.self, from: payload) else {
            throw AccessError(.malformed, "the token lacks a claim, or has one of another type")
        }
        return try Self.check(claims, audience: audience, now: now)
    }

    private static func check(_ claims: Claims, audience: Name, now: Int64) throws(AccessError) -> AccessToken {
        guard let expires = Int64(exactly: claims.exp.rounded(.down)) else {
            throw AccessError(.malformed, "the token's expiry is no time")
        }
        guard claims.aud.names.contains(where: { $0.utf8.elementsEqual(audience.text.utf8) }) else {
            throw AccessError(.wrongAudience, "the token is for another server")
        }
        guard expires > now.subtractingReportingOverflow(Self.clockSkew).partialValue else {
            throw AccessError(.expired, "the token expired")
        }
        for start in [claims.nbf, claims.iat].compactMap({ $0 }) where start > Double(now) + Double(Self.clockSkew) {
            throw AccessError(.notYetValid, "the token is not valid yet")
        }
        do throws(WireError) {
            return try AccessToken(
                user: Name(claims.sub), device: claims.dev.map { text throws(WireError) in try Name(text) },
                audience: audience, expires: expires,
                notBefore: claims.nbf.flatMap { Int64(exactly: $0.rounded(.down)) },
                issuedAt: claims.iat.flatMap { Int64(exactly: $0.rounded(.down)) })
        } catch {
            throw AccessError(.invalidName, "the token names no valid user or device: \(error.message)")
        }
    }

    private struct Header: Decodable {
        var alg: String
        /// Extensions that must be understood (RFC 7515, section 4.1.11): we understand none.
        var crit: [String]?
    }

    private struct Claims: Codable {
        var sub: String
        var dev: String?
        var aud: Audience
        var exp: Double
        var nbf: Double?
        var iat: Double?
    }

    /// RFC 7519, section 4.1.3: a string, or an array of strings.
    private enum Audience: Codable {
        case one(String)
        case many([String])

        var names: [String] {
            switch self {
            case .one(let name): [name]
            case .many(let names): names
            }
        }

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let name = try? container.decode(String.self) {
                self = .one(name)
            } else {
                self = .many(try container.decode([String].self))
            }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .one(let name): try container.encode(name)
            case .many(let names): try container.encode(names)
            }
        }
    }
}

extension Data {
    /// RFC 7515, section 2: base64 with the alphabet of URLs, without padding.
    fileprivate var base64URL: String {
        self.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    fileprivate init?(base64URL bytes: some Collection<UInt8>) {
        guard !bytes.contains(where: { $0 == UInt8(ascii: "+") || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "=") })
        else { return nil }
        var text = String(decoding: bytes, as: UTF8.self).replacing("-", with: "+").replacing("_", with: "/")
        text += String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
        self.init(base64Encoded: text)
    }
}
