// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import LabLink
internal import LabNetwork
internal import LabReport

/// Where trials run: an emulated network of their own, or the loopback.
///
/// `@unchecked Sendable`: a ground belongs to one trial at a time, whose thread alone uses it.
final class TrialGround: @unchecked Sendable {
    let network: EmulatedNetwork?

    /// - Parameter conditions: `nil` for the loopback.
    init(_ conditions: NetworkConditions?, seed: UInt64) throws {
        self.network = try conditions.map { try EmulatedNetwork($0, seed: seed) }
    }

    func prepare(_ conditions: NetworkConditions?, tcpCongestionControl: String, seed: UInt64) throws {
        guard let network, let conditions else { return }
        try network.reset(conditions, seed: seed)
        try network.setTCPCongestionControl(tcpCongestionControl)
    }

    func close() { self.network?.close() }

    /// The address that the server listens at.
    var serverHost: String { self.network?.serverAddress ?? "127.0.0.1" }
    var serverPlace: ChildProcess.Place { self.network?.serverPlace ?? { try $0() } }
    var clientPlace: ChildProcess.Place { self.network?.clientPlace ?? { try $0() } }

    /// Bytes of IP packets that left both ends so far; `nil` on the loopback.
    var wireBytes: Double? {
        self.network.map { network in
            network.counters.reduce(0) { $0 + Double($1.up.bytes) + Double($1.down.bytes) }
        }
    }

    /// How the network did since it was prepared; `nil` on the loopback.
    var carrying: CarryingRecord? {
        self.network.map { network in
            let lateness = network.lateness
            return CarryingRecord(
                packets: lateness.packets, latePackets: lateness.latePackets, worstSeconds: lateness.worstSeconds,
                lostPackets: network.packetsLostByMachine)
        }
    }

    func begin(_ script: [NetworkChange]) { self.network?.begin(script) }

    func takeEvents() -> [LabEvent] {
        (self.network?.takeEvents() ?? []).map { LabEvent(at: $0.at, source: "network", text: $0.text) }
    }
}

/// What the kernel's TCP can be told.
enum TCPCongestionControl {
    /// Why this one is not to be had; `nil` when it is, or when that cannot be known.
    static func missing(_ name: String) -> String? {
        let file = "/proc/sys/net/ipv4/tcp_available_congestion_control"
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else { return nil }
        let available = text.split(whereSeparator: \.isWhitespace)
        if available.contains(Substring(name)) { return nil }
        return "this kernel's TCP has no \(name), only \(available.joined(separator: ", "))"
    }
}
