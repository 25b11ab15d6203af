// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import NIOCore
internal import Tern

/// The client of every scenario of ours: does one work against the server and tells what came of it.
struct LabClient: Codable {
    var host: String
    var server: ServerReady
    var carrier: LabCarrier
    var work: Work
    /// Where qlog files go; `nil`: nowhere.
    var qlogDirectory: String?

    /// What is done and measured.
    enum Work: Codable {
        case connects(ConnectWork)
        case bulk(BulkWork)
        case messages(MessageWork)
        case requests(RequestWork)
        case fanOut(FanOutWork)
        case storm(StormWork)
    }

    var endpoint: Endpoint { get throws { try Endpoint(host: self.host, port: self.server.port) } }

    func play() async throws {
        var result: ClientResult
        do {
            switch self.work {
            case .connects(let work): result = try await work.play(self)
            case .bulk(let work): result = try await work.play(self)
            case .messages(let work): result = try await work.play(self)
            case .requests(let work): result = try await work.play(self)
            case .fanOut(let work): result = try await work.play(self)
            case .storm(let work): result = try await work.play(self)
            }
        } catch {
            // A result of its own: some networks do not let a carrier through.
            result = ClientResult(failure: "\(error)")
        }
        try tell(ClientWord.done(result))
    }

    func makeConnector(resumes: Bool = true) throws -> Connector {
        let trust = TLSTrust.certificateAuthorities(pem: Array(self.server.certificateAuthority.utf8))
        var tls = TLSClientConfiguration(trust: trust)
        if !resumes { tls.sessionCache = nil }
        return try self.makeConnector(tls)
    }

    func makeConnector(_ tls: TLSClientConfiguration) throws -> Connector {
        var quic = QUICOptions()
        quic.qlogDirectory = self.qlogDirectory
        return try Connector(applicationProtocol: .lab, tls: tls, policy: self.carrier.policy, quic: quic)
    }
}

/// The time since a moment, for what a client measures.
struct Stopwatch: Sendable {
    let start = ContinuousClock.now

    var seconds: Double { (ContinuousClock.now - self.start).seconds }
}

/// Counts what arrives, by steps of time.
struct ArrivalCounter: Sendable {
    static let step = 0.05
    private(set) var values: [Double] = []

    mutating func add(_ amount: Double, at seconds: Double) {
        guard seconds >= 0, seconds < 3_600 else { return }
        let index = Int(seconds / Self.step)
        while self.values.count <= index { self.values.append(0) }
        self.values[index] += amount
    }
}

extension ClientResult {
    /// The percentiles of `times` in milliseconds, and the times themselves.
    mutating func add(latencies times: [Int]) {
        self.latenciesMicroseconds = times
        let sorted = times.sorted()
        for (key, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("worst", 1)] {
            self.values[key] = sorted.nearestRank(quantile).map { Double($0) / 1e3 }
        }
    }

    mutating func add(timeline: ArrivalCounter, of unit: String) {
        (self.timelineStep, self.timelineUnit, self.timeline) = (ArrivalCounter.step, unit, timeline.values)
    }
}
