// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ArgumentParser
import Foundation
import Tern
import TernMessages
import Testing

@testable import tern_command

/// What a command line may look like, and what is refused before anything is tried.
@Suite
struct OptionsTests {
    @Test("A token comes from the option, the file, or the environment, in this order")
    func tokenHasThreeSources() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "tern-token-\(UUID())")
        try Data("from-file\n".utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let environment = ["TERN_TOKEN": "from-environment"]

        #expect(try TokenOptions.parse(["--token", "given"]).read(environment: environment) == "given")
        #expect(try TokenOptions.parse(["--token-file", file.path]).read(environment: environment) == "from-file")
        #expect(try TokenOptions.parse([]).read(environment: environment) == "from-environment")
        #expect(throws: CommandError.self) { try TokenOptions.parse([]).read(environment: [:]) }
        #expect(throws: CommandError.self) { try TokenOptions.parse(["--token", " "]).read(environment: environment) }
        #expect(throws: (any Error).self) { try TokenOptions.parse(["--token", "a", "--token-file", "b"]) }
    }

    @Test("A file that is not there is named, with what it was for")
    func missingFileIsNamed() throws {
        let error = #expect(throws: CommandError.self) {
            try TokenOptions.parse(["--token-file", "/nonexistent/token"]).read(environment: [:])
        }
        #expect(error?.code == .unreadableFile)
        #expect(error?.message == "cannot read the token file /nonexistent/token: No such file or directory")
    }

    @Test(
        "Addresses without a port, with port 0 and with bare IPv6 are refused",
        arguments: ["host", "host:0", "::1:4433", ":1"])
    func badAddressesAreRefused(address: String) {
        #expect(throws: (any Error).self) { try ConnectionOptions.parse(["--server", address]) }
    }

    @Test("Names, IPv4 and bracketed IPv6 are taken", arguments: ["host:1", "192.0.2.1:65535", "[::1]:4433"])
    func goodAddressesAreTaken(address: String) throws {
        #expect(try ConnectionOptions.parse(["--server", address]).server == Endpoint(address))
    }

    @Test("The transport's name for the message protocol is the one of the protocol")
    func messageProtocolHasOneName() {
        #expect(ApplicationProtocol.messages.quic == MessageProtocol.quic)
        #expect(ApplicationProtocol.messages.tls == MessageProtocol.qmux)
    }

    @Test("A conversation is with a user or with a group, not both")
    func conversationIsOneOfTwo() throws {
        #expect(try Conversation(user: Name("ann"), group: nil, options: "") == .user(Name("ann")))
        #expect(try Conversation(user: nil, group: Name("team"), options: "") == .group(Name("team")))
        #expect(try Conversation(user: nil, group: nil, options: "") == nil)
        #expect(throws: ValidationError.self) {
            try Conversation(user: Name("a"), group: Name("b"), options: "--to and --group")
        }
    }
}
