// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ArgumentParser
import Foundation
import Tern
import UnixSignals

@main
struct EchoServer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "echo-server",
        abstract: "Send back the streams and datagrams of every client.",
        discussion: """
            Speaks QUIC (ALPN "echo") and QMux on TLS over TCP (ALPN "echo-qx02") at one port, prints one line with the port \
            when clients can connect, and runs until SIGINT or SIGTERM.
            """)

    @Option(help: "The address to listen at. Port 0: the kernel chooses.", transform: endpoint)
    var listen = Endpoint.loopback(port: 4433)

    @Option(
        help: ArgumentHelp(
            "The certificate chain. Without it: a certificate for localhost, and the file echo-ca.pem for clients to trust.",
            valueName: "pem"))
    var certificate: String?

    @Option(help: ArgumentHelp("The private key of the certificate.", valueName: "pem"))
    var key: String?

    func validate() throws {
        guard (self.certificate == nil) == (self.key == nil) else {
            throw ValidationError("--certificate and --key go together")
        }
    }

    func run() async throws {
        let development = self.certificate == nil ? try TLSIdentity.selfSigned() : nil
        let identity = try development?.identity ?? self.identity()
        // README.md: from here
        let listener = try await Listener.bind(
            to: self.listen, applicationProtocol: ApplicationProtocol("echo"),
            tls: TLSServerConfiguration(identity: identity))
        // README.md: to here
        // Only now: another server that has the port may have written the file.
        if let development {
            do {
                try Data(development.certificateAuthorityPEM).write(to: URL(filePath: "echo-ca.pem"), options: .atomic)
            } catch {
                let reason = ((error as NSError).userInfo[NSUnderlyingErrorKey] as? any Error).map { $0 as NSError }
                let text = reason.map { String(cString: strerror(Int32($0.code))) } ?? error.localizedDescription
                throw StartError(description: "cannot write echo-ca.pem in this folder: \(text)")
            }
        }
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        // At once, also into a pipe: somebody may wait for this line.
        FileHandle.standardOutput.write(Data("QUIC and TLS on port \(listener.quicAddress.port ?? 0)\n".utf8))
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await listener.run(echo) }
            for await _ in signals { break }
            await listener.close()
        }
    }

    private func identity() throws -> TLSIdentity {
        guard let certificate, let key else { throw ValidationError("--certificate and --key go together") }
        return try TLSIdentity(certificateFile: certificate, keyFile: key)
    }
}

private struct StartError: Error, CustomStringConvertible {
    let description: String
}

private func endpoint(_ text: String) throws -> Endpoint {
    guard let endpoint = Endpoint(text) else {
        throw ValidationError("it is no address such as 127.0.0.1:4433, [::]:4433 or localhost:0")
    }
    return endpoint
}
