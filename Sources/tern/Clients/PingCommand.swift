// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import NIOCore
internal import Tern

/// `tern ping`: which carrier a connection takes, why, and how long things take.
struct PingCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ping",
        abstract: "Say which carrier a connection takes, why, and how long things take.",
        discussion: """
            Connects, prints a line, closes the connection, and begins again. It shows no token: whoever trusts the server's \
            certificate can ping it.

              tern ping --server localhost:4433 --ca tern-data/ca.pem --count 3
            """)

    @OptionGroup var connectionOptions: ConnectionOptions

    @Option(help: ArgumentHelp("How many connections to make, one after the other.", valueName: "n"))
    var count: Int = 1

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var logOptions: LogOptions

    func validate() throws {
        guard (1...1_000_000).contains(self.count) else { throw ValidationError("--count takes 1 to 1000000") }
    }

    func run() async throws {
        let output = self.outputOptions.makeOutput()
        try await output.run {
            let connector = try self.connectionOptions.makeConnector(logger: self.logOptions.makeLogger(label: "tern"))
            for number in 1...self.count {
                try await self.ping(connector, number: number, output: output)
            }
        }
    }

    private func ping(_ connector: Connector, number: Int, output: Output) async throws {
        let (connection, report) = try await self.connectionOptions.connect(by: connector)
        let statistics = await connection.statistics()
        await connection.close()
        let roundTrip = statistics.latestRoundTripTime ?? statistics.smoothedRoundTripTime
        var line = JSONLine(event: "ping")
        line.add("number", number)
        line.add("carrier", report.carrier.name)
        line.add("reason", report.reason.rawValue)
        line.add("address", report.address.hostAndPort)
        line.add(milliseconds: "connectMilliseconds", report.totalDuration)
        line.add(milliseconds: "handshakeMilliseconds", report.handshakeDuration)
        line.add(milliseconds: "roundTripMilliseconds", roundTrip)
        try await output.event(line, orText: Self.text(report, roundTrip: roundTrip))
    }

    private static func text(_ report: ConnectionReport, roundTrip: TimeAmount?) -> String {
        let address = report.address.hostAndPort
        let handshake = report.handshakeDuration.millisecondsText
        return "\(report.carrier) \(address): \(report); handshake \(handshake) ms, "
            + "round trip \(roundTrip.map { "\($0.millisecondsText) ms" } ?? "unknown")"
    }
}
