// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import Testing

@testable import TernTLS

#if canImport(Glibc)
import Glibc
#endif

@Suite("Identities and trust")
struct TLSIdentityTests {
    @Test func aKeyOfAnotherCertificateIsRefused() throws {
        let (one, other) = (try TLSIdentity.selfSigned(), try TLSIdentity.selfSigned())
        #expect(throws: TLSError(.keyMismatch, message: "")) {
            _ = try TLSIdentity(certificatePEM: one.certificatePEM, keyPEM: other.keyPEM)
        }
    }

    /// RFC 5915, section 3: the private value is an octet string as long as the curve's order. Strict parsers refuse another length.
    @Test func everyGeneratedKeyIsEncodedInFull() throws {
        for _ in 0..<32 {
            let made = try TLSIdentity.selfSigned()
            let text = String(decoding: made.keyPEM, as: UTF8.self)
            let lines = text.split(separator: "\n")
            #expect(lines.first == "-----BEGIN PRIVATE KEY-----")
            let der = try #require(Data(base64Encoded: lines.filter { !$0.hasPrefix("-") }.joined()))
            #expect(der.count == 138)
            #expect(Array(der[34..<36]) == [0x04, 0x20])
        }
    }

    @Test func whatIsNotPEMIsRefused() throws {
        let made = try TLSIdentity.selfSigned()
        for garbage in [[], Array("hello".utf8), Array(made.certificatePEM.prefix(200))] {
            #expect(throws: TLSError(.malformed, message: "")) {
                _ = try TLSIdentity(certificatePEM: garbage, keyPEM: made.keyPEM)
            }
            #expect(throws: TLSError(.malformed, message: "")) {
                _ = try TLSIdentity(certificatePEM: made.certificatePEM, keyPEM: garbage)
            }
        }
    }

    @Test func timeIsAWarningAndNoError() throws {
        let identity = try TLSIdentity.selfSigned(validFor: .hours(1), now: 1_600_000_000).identity
        #expect(identity.notBefore == 1_600_000_000 - 3600)
        #expect(identity.notAfter == 1_600_000_000 + 3600)
        #expect(identity.warning(at: 1_600_000_000) == nil)
        #expect(identity.warning(at: 1_600_003_607)?.contains("expired 7 seconds") == true)
        #expect(identity.warning(at: 1_600_000_000 - 3610)?.contains("only in 10 seconds") == true)
    }

    @Test func anUnreadableFileIsNamed() throws {
        let error = #expect(throws: TLSError.self) {
            _ = try TLSIdentity(certificateFile: "/nonexistent/certificate.pem", keyFile: "/nonexistent/key.pem")
        }
        #expect(error?.code == .unreadableFile)
        #expect(error?.message.contains("/nonexistent/certificate.pem") == true)
        #expect(error?.message.contains("No such file") == true)
    }

    @Test func filesAreRead() throws {
        let made = try TLSIdentity.selfSigned()
        let folder = try TemporaryFolder()
        let (certificate, key) = (
            try folder.write("c.pem", made.certificatePEM), try folder.write("k.pem", made.keyPEM)
        )
        _ = try TLSIdentity(certificateFile: certificate, keyFile: key)
        let trust = try TLSTrust.certificateAuthorities(file: folder.write("ca.pem", made.certificateAuthorityPEM))
        #expect(trust == .certificateAuthorities(pem: made.certificateAuthorityPEM))
    }

    @Test func anEmptyTrustIsRefused() {
        #expect(throws: TLSError.self) {
            _ = try TLSClientContext(TLSClientConfiguration(trust: .certificateAuthorities(pem: [])))
        }
        #expect(throws: TLSError(.emptyTrust, message: "")) {
            _ = try TLSClientContext(TLSClientConfiguration(trust: .pinned(subjectPublicKeyInfoSHA256: [])))
        }
        #expect(throws: TLSError(.emptyTrust, message: "")) {
            _ = try TLSClientContext(TLSClientConfiguration(trust: .pinned(subjectPublicKeyInfoSHA256: [[1, 2, 3]])))
        }
    }

    @Test func aDescriptionShowsNoKey() throws {
        #expect("\(try TLSIdentity.selfSigned().identity)" == "TLSIdentity")
    }
}

/// A folder that goes away with the test.
private final class TemporaryFolder {
    private let path: String
    private var files: [String] = []

    init() throws {
        var template = Array("/tmp/tern-tls-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } }
        self.path = String(cString: try #require(made))
    }

    deinit {
        for file in self.files { unlink(file) }
        rmdir(self.path)
    }

    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let path = "\(self.path)/\(name)"
        let file = try #require(fopen(path, "w"))
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
        self.files.append(path)
        return path
    }
}
