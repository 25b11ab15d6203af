// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import Tern

let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 4433
let development = try TLSIdentity.selfSigned()
try Data(development.certificateAuthorityPEM).write(to: URL(filePath: "echo-ca.pem"))
let listener = try await Listener.bind(
    to: Endpoint(host: "127.0.0.1", port: port), applicationProtocol: ApplicationProtocol("echo"),
    tls: TLSServerConfiguration(identity: development.identity))
print("QUIC and TLS on port \(listener.quicAddress.port ?? port)")

await listener.run { connection in
    do {
        for try await stream in connection.inboundStreams {
            while let bytes = try await stream.read() { try await stream.write(bytes) }
            try await stream.finish()
        }
    } catch { print("a connection ended: \(error)") }
}
