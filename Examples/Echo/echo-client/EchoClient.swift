// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ArgumentParser
import Foundation
import Tern

@main
struct EchoClient: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "echo-client",
        abstract: "Send texts to an echo server and print what comes back, a line for each.",
        discussion: "How it came to its connection is said on standard error.")

    enum CarrierChoice: String, ExpressibleByArgument, CaseIterable {
        case auto, quic, tls

        var mode: ConnectionPolicy.Mode {
            switch self {
            case .auto: .preferQUIC
            case .quic: .quicOnly
            case .tls: .tcpOnly
            }
        }
    }

    @Argument(help: ArgumentHelp("The server, such as localhost:4433.", valueName: "host:port"), transform: endpoint)
    var server: Endpoint

    @Argument(help: "What to send, each on a stream of its own.")
    var text: [String]

    @Option(help: ArgumentHelp("The authorities to trust.", valueName: "pem"))
    var ca = "echo-ca.pem"

    @Option(help: "auto: QUIC, and TLS over TCP where UDP does not get through; quic or tls: only that one.")
    var carrier = CarrierChoice.auto

    @Flag(help: "Send datagrams instead of streams.")
    var datagram = false

    @Flag(help: "Send on streams that go one way; the server answers on streams of its own.")
    var unidirectional = false

    func validate() throws {
        if self.datagram, self.unidirectional { throw ValidationError("give --datagram or --unidirectional, not both") }
        if self.text.isEmpty { throw ValidationError("give a text to send") }
        if self.server.port == 0 { throw ValidationError("the server needs a port other than 0") }
    }

    func run() async throws {
        // README.md: from here
        let connector = try Connector(
            applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSClientConfiguration(trust: .certificateAuthorities(file: self.ca)),
            policy: ConnectionPolicy(self.carrier.mode))
        let (connection, report) = try await connector.race(to: self.server)
        // README.md: to here
        FileHandle.standardError.write(Data("\(report)\n".utf8))
        for text in self.text {
            try await self.echo(text, over: connection)
            FileHandle.standardOutput.write(Data("\n".utf8))
        }
        await connection.close()
    }

    private func echo(_ text: String, over connection: Connection) async throws {
        func show(_ bytes: ByteBuffer) { FileHandle.standardOutput.write(Data(bytes.readableBytesView)) }
        if self.datagram {
            try await echoDatagram(text, over: connection, receive: show)
        } else if self.unidirectional {
            try await echoOneWay(text, over: connection, receive: show)
        } else {
            try await echoStream(text, over: connection, receive: show)
        }
    }
}

private func endpoint(_ text: String) throws -> Endpoint {
    guard let endpoint = Endpoint(text) else {
        throw ValidationError("it is no address such as localhost:4433, 192.0.2.1:4433 or [2001:db8::1]:4433")
    }
    return endpoint
}
