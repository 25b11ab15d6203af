// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import Tern

/// What programs of others do of a scenario's work, where they are installed.
enum ForeignWork: Sendable {
    case nginxCurl(measures: CurlMeasure)
    case gtls
    case iperf3

    enum CurlMeasure: Sendable {
        case firstByte
        case throughput
    }

    /// Why it cannot be done on this machine; `nil` when it can.
    var missing: String? {
        switch self {
        case .nginxCurl: NginxPair.missing
        case .gtls: GtlsPair.missing
        case .iperf3: ForeignProgram.missing([.iperf3])
        }
    }

    func run(_ trial: ForeignTrial) throws -> [String: Double] {
        switch self {
        case .nginxCurl(measures: .firstByte): try trial.firstBytes()
        case .nginxCurl(measures: .throughput): try trial.nginxCurl()
        case .gtls: try trial.gtls()
        case .iperf3: try trial.iperf3()
        }
    }
}

/// One turn of a foreign pair of programs.
struct ForeignTrial {
    let byteCount: Int
    private let patience: Duration
    private let ground: ForeignGround

    init(on ground: TrialGround, byteCount: Int, scratch: String, patience: Duration) {
        self.byteCount = byteCount
        self.patience = patience
        var place = ForeignGround(scratch: scratch)
        place.serverHost = ground.serverHost
        (place.serverPlace, place.clientPlace) = (ground.serverPlace, ground.clientPlace)
        self.ground = place
    }

    func firstBytes() throws -> [String: Double] {
        let pair = try NginxPair(self.ground, identity: self.identityFiles())
        let file = URL(filePath: try sparseFile(self.byteCount, in: self.ground.scratch))
        let server = try pair.startServer(directory: file.deletingLastPathComponent().path)
        var (connects, firstBytes): ([Double], [Double]) = ([], [])
        for _ in 0..<5 {
            let client = try pair.startClient(path: file.lastPathComponent)
            let times = try NginxPair.Times(client.output(within: self.patience).text)
            connects.append(times.connected * 1e3)
            firstBytes.append(times.firstByte * 1e3)
        }
        _ = try server.stop(.signal(SIGTERM))
        var values: [String: Double] = [:]
        values["firstByte"] = Spread(firstBytes)?.median
        values["connect"] = Spread(connects)?.median
        return values
    }

    func nginxCurl() throws -> [String: Double] {
        let pair = try NginxPair(self.ground, identity: self.identityFiles())
        let fetch = try pair.fetch(self.byteCount, within: self.patience)
        let times = try NginxPair.Times(fetch.text)
        return self.values(seconds: times.total - times.sent, fetch)
    }

    func gtls() throws -> [String: Double] {
        let pair = try GtlsPair(self.ground, identity: self.identityFiles())
        let fetch = try pair.fetch(self.byteCount, within: self.patience)
        return self.values(seconds: fetch.client.wallSeconds, fetch)
    }

    func iperf3() throws -> [String: Double] {
        let port = try self.ground.freePort(.tcp)
        let server = try self.ground.startServer("iperf3", name: "iperf3-server", ["-s", "-1", "-p", "\(port)"])
        try self.ground.untilTaken(port, .tcp, by: "iperf3")
        let client = try self.ground.startClient(
            "iperf3", name: "iperf3-client",
            ["-c", self.ground.serverHost, "-p", "\(port)", "-R", "-n", "\(self.byteCount)", "-J"])
        let (text, ending) = try client.output(within: self.patience)
        let serverCPU = try server.finish(within: .seconds(20)).cpuSeconds
        let report = try JSONDecoder().decode(IperfReport.self, from: Data(text.utf8))
        let bytesPerSecond = report.end.sumReceived.bitsPerSecond / 8
        return [
            "throughput": bytesPerSecond / 1e6, "clientCPU": ending.cpuSeconds, "serverCPU": serverCPU,
        ]
    }

    private struct IperfReport: Decodable {
        struct End: Decodable {
            struct Sum: Decodable {
                var bitsPerSecond: Double

                enum CodingKeys: String, CodingKey { case bitsPerSecond = "bits_per_second" }
            }

            var sumReceived: Sum

            enum CodingKeys: String, CodingKey { case sumReceived = "sum_received" }
        }

        var end: End
    }

    private func values(seconds: Double, _ fetch: ForeignFetch) -> [String: Double] {
        [
            "throughput": Double(self.byteCount) / max(seconds, 1e-6) / 1e6, "seconds": seconds,
            "clientCPU": fetch.client.cpuSeconds, "serverCPU": fetch.server.cpuSeconds,
        ]
    }

    private func identityFiles() throws -> IdentityFiles {
        let development = try TLSIdentity.selfSigned(for: [self.ground.serverHost])
        return try IdentityFiles(
            certificatePEM: development.certificatePEM, keyPEM: development.keyPEM, in: self.ground.scratch)
    }
}
