// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Tern

let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 4433
let trust = try TLSTrust.certificateAuthorities(file: "echo-ca.pem")
let connector = try Connector(
    applicationProtocol: ApplicationProtocol("echo"), tls: TLSClientConfiguration(trust: trust))

let (connection, report) = try await connector.race(to: Endpoint(host: "127.0.0.1", port: port))
print(report)
let stream = try await connection.openStream()
try await stream.finish(ByteBuffer(string: "Hello from over there!"))
while let bytes = try await stream.read() { print(String(buffer: bytes)) }
await connection.close()
