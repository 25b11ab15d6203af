// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import TernTransport
import Testing

@testable import TernTLS

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

@Suite("The key log")
final class KeyLogTests {
    private let folder: URL

    init() throws {
        self.folder = FileManager.default.temporaryDirectory.appending(path: "tern-keys-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: self.folder) }

    private var path: String { self.folder.appending(path: "keys").path }

    private func mode(_ path: String) throws -> mode_t {
        var status = stat()
        try #require(stat(path, &status) == 0)
        return status.st_mode & 0o777
    }

    @Test func nobodyElseCanReadIt() throws {
        _ = try KeyLog(path: self.path)
        #expect(try self.mode(self.path) == 0o600)
        try #require(chmod(self.path, 0o644) == 0)
        _ = try KeyLog(path: self.path)
        #expect(try self.mode(self.path) == 0o600, "also when it was there before")
    }

    @Test func aLinkIsNotFollowed() throws {
        let target = self.folder.appending(path: "target").path
        try #require(symlink(target, self.path) == 0)
        #expect(throws: TLSError(.unreadableFile, message: "")) { _ = try KeyLog(path: self.path) }
        #expect(!FileManager.default.fileExists(atPath: target))
    }

    @Test func aPipeThatNobodyReadsHoldsNobodyUp() throws {
        try #require(mkfifo(self.path, 0o600) == 0)
        #expect(throws: TLSError(.unreadableFile, message: "")) { _ = try KeyLog(path: self.path) }
    }

    @Test func whatWasThereStays() throws {
        try Data("# mine\n".utf8).write(to: URL(filePath: self.path))
        let log = try KeyLog(path: self.path)
        [UInt8]([0xab, 0x01]).withUnsafeBufferPointer { log.write("LABEL", clientRandom: $0, secret: $0) }
        #expect(try String(contentsOfFile: self.path, encoding: .utf8) == "# mine\nLABEL ab01 ab01\n")
    }

    /// Both ends write the same lines, each secret once, whatever the keys do afterwards.
    @Test func bothEndsLogEverySecretOnce() throws {
        let made = try TLSIdentity.selfSigned()
        let (clientFile, serverFile) = (self.path, self.path + "-server")
        let pair = TLSPair(
            client: TLSStream(
                session: try TLSClientContext(
                    TLSClientConfiguration(trust: .certificateAuthorities(pem: made.certificateAuthorityPEM)),
                    clock: { SystemClock.secondsSince1970 }, keyLog: KeyLog(path: clientFile)
                ).makeSession(for: .stream, applicationProtocols: ["one"], serverName: "localhost")),
            server: TLSStream(
                session: try TLSServerContext(
                    TLSServerConfiguration(identity: made.identity), keyLog: KeyLog(path: serverFile)
                ).makeSession(for: .stream, applicationProtocols: ["one"])))
        try pair.finish()
        try pair.client.updateKeys()
        try pair.client.write(ByteBuffer(string: "new keys"))
        #expect(try pair.carry(from: pair.client, to: pair.server, pieceSize: .max) == ByteBuffer(string: "new keys"))
        let lines = try [clientFile, serverFile].map { file in
            try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").map(String.init)
        }
        let labels = lines.map { $0.map { String($0.prefix { $0 != " " }) } }
        for label in [
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0", "EXPORTER_SECRET",
        ] {
            for end in labels { #expect(end.count { $0 == label } == 1, "\(label) in \(end)") }
        }
        #expect(Set(lines[0]) == Set(lines[1]))
    }
}
