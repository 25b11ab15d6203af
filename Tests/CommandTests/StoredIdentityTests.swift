// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Tern
import Testing

@testable import tern_command

/// What `--self-signed` finds in its directory after a stop at the wrong moment, a restore or a clean-up.
@Suite
final class StoredIdentityTests {
    private let directory = FileManager.default.temporaryDirectory.appending(path: "tern-identity-\(UUID())")
    private let (one, two): (SelfSignedIdentity, SelfSignedIdentity)

    init() throws {
        (self.one, self.two) = (try TLSIdentity.selfSigned(), try TLSIdentity.selfSigned())
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: self.directory) }

    private func put(_ bytes: [UInt8], _ name: String) throws {
        let file = self.directory.appending(path: name)
        try Data(bytes).write(to: file)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file.path)
    }

    private func read(_ name: String) throws -> String {
        try String(contentsOf: self.directory.appending(path: name), encoding: .utf8)
    }

    private func load() throws -> StoredIdentity {
        try StoredIdentity.load(
            directory: self.directory.path, names: CertifiedNames(listen: "127.0.0.1", hosts: [])
        ) { _ in }
    }

    /// The certificate that `ca.pem` has is the one that the chain ends with.
    private func expectOneIdentity() throws {
        let authority = try self.read("ca.pem").trimmingCharacters(in: .whitespacesAndNewlines)
        let chain = try self.read("certificate.pem").trimmingCharacters(in: .whitespacesAndNewlines)
        #expect(authority.hasPrefix("-----BEGIN CERTIFICATE-----") && chain.hasSuffix(authority))
    }

    @Test("A ca.pem of another identity is refused, with what to do")
    func foreignAuthority() throws {
        try self.put(self.two.keyPEM, "key.pem")
        try self.put(self.two.certificatePEM, "certificate.pem")
        try self.put(self.one.certificateAuthorityPEM, "ca.pem")
        let error = #expect(throws: CommandError.self) { try self.load() }
        #expect(error?.code == .configuration)
        #expect(error?.message.contains("ca.pem") == true && error?.message.contains("emove") == true)
    }

    @Test(
        "A ca.pem that is missing is taken from the certificate's chain: clients that have it go on believing the server"
    )
    func missingAuthority() throws {
        try self.put(self.two.keyPEM, "key.pem")
        try self.put(self.two.certificatePEM, "certificate.pem")
        _ = try self.load()
        #expect(try self.read("certificate.pem") == String(decoding: self.two.certificatePEM, as: UTF8.self))
        try self.expectOneIdentity()
        _ = try self.load()
    }

    @Test("Others may stand beside the authority in ca.pem")
    func bundle() throws {
        try self.put(self.two.keyPEM, "key.pem")
        try self.put(self.two.certificatePEM, "certificate.pem")
        try self.put(self.two.certificateAuthorityPEM + self.one.certificateAuthorityPEM, "ca.pem")
        _ = try self.load()
    }

    /// Whatever was left, the next start has one identity, and no stop in the middle leaves files of two.
    @Test(
        "What is incomplete is made anew, and nothing old stays beside it",
        arguments: [
            ["certificate.pem", "ca.pem"], ["key.pem", "ca.pem"], ["key.pem"], ["certificate.pem"], ["ca.pem"], [],
        ])
    func incomplete(left: [String]) throws {
        let files = [
            "key.pem": self.one.keyPEM, "certificate.pem": self.one.certificatePEM,
            "ca.pem": self.one.certificateAuthorityPEM,
        ]
        for name in left { try self.put(try #require(files[name]), name) }
        _ = try self.load()
        try self.expectOneIdentity()
        let made = try ["key.pem", "certificate.pem", "ca.pem"].map { try self.read($0) }
        _ = try self.load()
        #expect(try ["key.pem", "certificate.pem", "ca.pem"].map { try self.read($0) } == made)
    }
}
