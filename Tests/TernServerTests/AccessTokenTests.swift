// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Crypto
import Foundation
import TernMessages
import TernServer
import Testing

@Suite struct AccessTokenTests {
    static let bytes = [UInt8](repeating: 7, count: 32)
    let secret: AccessSecret
    let audience: Name

    init() throws {
        self.secret = try AccessSecret(bytes: Self.bytes)
        self.audience = try Name("tern")
    }

    /// A token made by hand, as another implementation would.
    private func token(header: String = #"{"typ":"JWT","alg":"HS256"}"#, _ claims: String) -> String {
        let text = [header, claims].map { Self.base64URL(Data($0.utf8)) }.joined(separator: ".")
        let code = HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: SymmetricKey(data: Self.bytes))
        return text + "." + Self.base64URL(Data(code))
    }

    private static func base64URL(_ data: Data) -> String {
        data.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    private func code(_ text: String, now: Int64 = 1000) -> AccessError.Code? {
        do throws(AccessError) {
            _ = try AccessToken.verify(text, secret: self.secret, audience: self.audience, now: now)
            return nil
        } catch {
            return error.code
        }
    }

    @Test func whatIsSignedIsVerified() throws {
        let token = try AccessToken(
            user: Name("älice \"quoted\" /slash"), device: Name("phone"), audience: self.audience, expires: 2000,
            notBefore: 900, issuedAt: 950)
        let text = token.signed(with: self.secret)
        #expect(try AccessToken.verify(text, secret: self.secret, audience: self.audience, now: 1000) == token)
    }

    /// The example of RFC 7515, appendix A.1, has another claim set; this is its signature check on a token of ours.
    @Test func foreignTokensAreRead() throws {
        let text = self.token(#"{"sub":"bob","aud":["x","tern"],"exp":1300.5,"iat":999}"#)
        let token = try AccessToken.verify(text, secret: self.secret, audience: self.audience, now: 1000)
        #expect(token.user.text == "bob")
        #expect(token.device.text == "default")
        #expect(token.expires == 1300)
    }

    @Test func everyDefectIsNamed() {
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern","exp":2000}"#)) == nil)
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern","exp":939}"#)) == .expired)
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern","exp":941}"#)) == nil)
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern","exp":2000,"nbf":1061}"#)) == .notYetValid)
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern","exp":2000,"iat":1061}"#)) == .notYetValid)
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern2","exp":2000}"#)) == .wrongAudience)
        #expect(self.code(self.token(#"{"sub":"a","aud":[],"exp":2000}"#)) == .wrongAudience)
        #expect(self.code(self.token(#"{"sub":"a","exp":2000}"#)) == .malformed)
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern"}"#)) == .malformed)
        #expect(self.code(self.token(#"{"aud":"tern","exp":2000}"#)) == .malformed)
        #expect(self.code(self.token(#"{"sub":"","aud":"tern","exp":2000}"#)) == .invalidName)
        #expect(self.code(self.token(#"{"sub":"a\u0007","aud":"tern","exp":2000}"#)) == .invalidName)
        #expect(self.code(self.token(#"{"sub":"a","dev":"","aud":"tern","exp":2000}"#)) == .invalidName)
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern","exp":1e300}"#)) == .malformed)
        #expect(self.code(self.token(#"{"sub":"a","aud":"tern","exp":"2000"}"#)) == .malformed)
        #expect(self.code(self.token("[]")) == .malformed)
    }

    @Test func theAlgorithmIsNotTheTokensChoice() {
        let claims = #"{"sub":"a","aud":"tern","exp":2000}"#
        for header in [
            #"{"alg":"none"}"#, #"{"alg":"HS512"}"#, #"{"alg":"hs256"}"#, #"{"alg":"HS256","crit":["b64"]}"#,
        ] {
            #expect(self.code(self.token(header: header, claims)) == .unsupportedAlgorithm, "\(header)")
        }
        let unsigned = self.token(header: #"{"alg":"none"}"#, claims).split(separator: ".").prefix(2).joined(
            separator: ".")
        #expect(self.code(unsigned + ".") == .unsupportedAlgorithm)
    }

    /// A header is read before the signature is checked: it must not be able to exhaust the stack.
    @Test func nestingWithoutEndIsMalformed() {
        let claims = #"{"sub":"a","aud":"tern","exp":2000}"#
        for opening in ["[", #"{"alg":"#] {
            let header = String(repeating: opening, count: 5_000 / opening.utf8.count)
            #expect(self.code(self.token(header: header, claims)) == .malformed)
        }
    }

    @Test func everyChangedCharacterIsNoticed() {
        let text = self.token(#"{"sub":"a","aud":"tern","exp":2000}"#)
        for index in text.indices.dropLast() {
            var changed = text
            changed.replaceSubrange(index...index, with: text[index] == "A" ? "B" : "A")
            #expect(self.code(changed) != nil)
        }
        #expect(self.code(String(text.dropLast())) != nil)
        #expect(self.code(text + "=") != nil)
        #expect(self.code("") == .malformed)
    }

    @Test func aShortSecretIsRefused() {
        #expect(throws: AccessError.self) { try AccessSecret(bytes: [UInt8](repeating: 1, count: 31)) }
    }
}
