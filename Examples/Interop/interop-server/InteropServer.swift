// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ArgumentParser
import Foundation
import InteropCommon
import Logging
import NIOCore
import NIOPosix
import Tern
import UnixSignals

@main
struct InteropServer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "interop-server",
        abstract: "Serve files over QUIC as the quic-interop-runner asks for them (HTTP/0.9, ALPN \"hq-interop\").",
        discussion: """
            The environment variable TESTCASE says what is tried (exit code 127: not supported), SSLKEYLOGFILE where secrets of \
            TLS are logged, QLOGDIR where qlog files are written. Prints one line with the address when clients can connect, \
            and runs until SIGINT or SIGTERM.
            """)

    @Option(
        help: ArgumentHelp("The address to listen at. Port 0: the kernel chooses.", valueName: "host:port"),
        transform: endpoint)
    var listen = Endpoint.everywhere(port: 443)

    @Option(help: ArgumentHelp("The folder whose files are served.", valueName: "dir"))
    var root = "/www"

    @Option(help: ArgumentHelp("The certificate chain.", valueName: "pem"))
    var certificate = "/certs/cert.pem"

    @Option(help: ArgumentHelp("The private key of the certificate.", valueName: "pem"))
    var key = "/certs/priv.key"

    @Option(
        help: ArgumentHelp(
            "Where clients should go after the handshake; once for IPv4, once for IPv6. It must be an address of this server.",
            valueName: "host:port"),
        transform: endpoint)
    var preferredAddress: [Endpoint] = []

    @Flag(name: .customLong("http3"), help: "Speak HTTP/3 (ALPN \"h3\"), as for the test case http3.")
    var http3 = false

    func run() async throws {
        let testCase = try TestCase.fromEnvironment()
        let server = FileServer(
            root: try Folder(self.root), fileProtocol: self.http3 || testCase == .http3 ? .http3 : .http09)
        let group = MultiThreadedEventLoopGroup.singleton
        let address = try SocketAddress.makeAddressResolvingHost(self.listen.host, port: self.listen.port)
        let (connections, accepted) = AsyncStream.makeStream(of: (any LoopConnection).self)
        let listener = try await QUICListener.bind(
            to: address,
            tls: try self.tls(for: testCase),
            applicationProtocols: [server.fileProtocol.applicationProtocol], limits: .interop,
            options: .fromEnvironment(), serverOptions: try self.serverOptions(for: testCase), eventLoopGroup: group,
            logger: Logger(label: "interop-server")
        ) { accepted.yield($0) }.get()
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        // At once, also into a pipe: somebody may wait for this line.
        FileHandle.standardOutput.write(Data("QUIC on port \(listener.localAddress.port ?? 0)\n".utf8))
        await withDiscardingTaskGroup { group in
            group.addTask { await server.serve(connections) }
            for await _ in signals { break }
            try? await listener.close().get()
            accepted.finish()
        }
    }

    private func tls(for testCase: TestCase) throws -> TLSServerConfiguration {
        var configuration = TLSServerConfiguration(
            identity: try TLSIdentity(certificateFile: self.certificate, keyFile: self.key))
        if testCase == .chacha20 { configuration.cipherSuites = [.chaCha20Poly1305] }
        // To send a file twice does no harm.
        configuration.earlyData = TLSEarlyData()
        return configuration
    }

    private func serverOptions(for testCase: TestCase) throws -> QUICServerOptions {
        var options = QUICServerOptions()
        if testCase == .retry { options.addressValidation = .always }
        for endpoint in self.preferredAddress {
            let address = try SocketAddress(ipAddress: endpoint.host, port: endpoint.port)
            if case .v6 = address {
                options.preferredIPv6Address = address
            } else {
                options.preferredIPv4Address = address
            }
        }
        return options
    }
}

private func endpoint(_ text: String) throws -> Endpoint {
    guard let endpoint = Endpoint(text) else {
        throw ValidationError("\"\(text)\" is no address such as 127.0.0.1:4433, [::]:443 or localhost:0")
    }
    return endpoint
}
