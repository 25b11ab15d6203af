// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import NIOCore
internal import Tern

/// Which server a client talks to, how, and why it believes it.
struct ConnectionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("The server's address, such as chat.example:4433 or [::1]:4433.", valueName: "host:port"),
        transform: Endpoint.init(argument:))
    var server: Endpoint

    @Option(
        help: ArgumentHelp(
            "Trust certificates that this file's authorities issued. Without it and without --pin: the system's authorities.",
            valueName: "pem"))
    var ca: String?

    @Option(
        help: ArgumentHelp(
            "Trust only a certificate with this public key: SHA-256 of its SubjectPublicKeyInfo, in base64 or hexadecimal.",
            valueName: "sha256"))
    var pin: String?

    @Option(help: ArgumentHelp("The name in the server's certificate, if it is not the host.", valueName: "name"))
    var serverName: String?

    @Option(
        help: ArgumentHelp(
            "auto: QUIC, and TLS over TCP where UDP does not get through; quic or tls: only that one.",
            valueName: "carrier"))
    var carrier: CarrierChoice = .auto

    @Option(
        help: ArgumentHelp(
            "Give up when there was no connection for this long, or when lines that wait were not acknowledged. A first connection that is refused ends it at once.",
            valueName: "seconds"))
    var timeout: Int = 60

    func validate() throws {
        guard self.server.port != 0 else { throw ValidationError("--server needs a port other than 0") }
        if let serverName, (try? ServerName(serverName)) == nil {
            throw ValidationError(
                "--server-name \"\(Output.singleLine(serverName))\" is neither the name of a host nor an address")
        }
        try NamedFile.checkName(self.ca, option: "--ca")
        if self.ca != nil, self.pin != nil { throw ValidationError("give --ca or --pin, not both") }
        if let pin, Self.digest(pin) == nil {
            throw ValidationError("--pin takes the 32 bytes of a SHA-256, in base64 or as 64 hexadecimal digits")
        }
        guard (1...86_400).contains(self.timeout) else { throw ValidationError("--timeout takes 1 to 86400 seconds") }
    }
}

/// The carriers that a client may use.
enum CarrierChoice: String, ExpressibleByArgument, CaseIterable {
    case auto
    case quic
    case tls

    var mode: ConnectionPolicy.Mode {
        switch self {
        case .auto: .preferQUIC
        case .quic: .quicOnly
        case .tls: .tcpOnly
        }
    }
}

extension Endpoint {
    /// For `@Option(transform:)`.
    init(argument text: String) throws {
        guard let endpoint = Endpoint(text) else {
            // What was given is said before this.
            throw ValidationError("it is no address such as name:4433, 192.0.2.1:4433 or [2001:db8::1]:4433")
        }
        self = endpoint
    }
}
