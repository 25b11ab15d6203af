// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import BenchSupport
import Foundation
import LabLink
import Testing

@testable import LabNetwork

private let whyNot =
    LabMachine.missing().joined(separator: " ")
    + (LabMachine.isPrivileged
        ? "" : " A test process has several threads and cannot get the privilege: run it as root.")

@Suite(.serialized, .enabled(if: LabMachine.canEmulate && LabMachine.isPrivileged, Comment(rawValue: whyNot)))
struct EmulatedNetworkTests {
    static let quick = AccessConditions(up: DirectionConditions(), down: DirectionConditions())

    /// That they take no longer is the business of whoever runs the lab: while tests run, a machine is busy.
    @Test
    func roundTripsAndTransfersTakeAtLeastTheirTime() throws {
        let findings = try EmulatedNetwork.measureAccuracy()
        #expect(findings.count == 3)
        for finding in findings {
            #expect(finding.measured >= finding.expected * 0.99, "\(finding)")
        }
        #expect(findings[0].measured < 80, "half of the round trips are far too long: \(findings)")
    }

    @Test
    func aNetworkWithoutLimitsCarriesMoreThanAnyLimitOfTheScenarios() throws {
        // Built for debugging, and beside other tests: in a release build it is more than a gigabit per second.
        #expect(try EmulatedNetwork.measureCapacity() > 50e6)
    }

    @Test
    func bothKindsOfAddressesReachTheServer() throws {
        let network = try EmulatedNetwork(NetworkConditions(Self.quick), seed: 1)
        defer { network.close() }
        let pair4 = try UDPPair(network, server: network.serverAddress, client: network.clientAddresses[0])
        #expect(try pair4.echo() == "\(network.clientAddresses[0])")
        let pair6 = try UDPPair(network, server: network.serverAddress6, client: network.clientAddresses6[0])
        #expect(try pair6.echo() == "\(network.clientAddresses6[0])")
        #expect(network.counters[0].up.deliveredPackets == 2)
        #expect(network.counters[0].down.deliveredPackets == 2)
        #expect(network.lateness.packets == 4)
    }

    @Test
    func programsAreStartedInTheirNamespace() throws {
        let network = try EmulatedNetwork(NetworkConditions(accesses: [Self.quick, Self.quick]), seed: 1)
        defer { network.close() }
        let cat = try #require(ChildProcess.path(of: "cat"))
        let scratch = NSTemporaryDirectory() + UUID().uuidString
        try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: scratch) }
        for place in [network.clientPlace, network.serverPlace] {
            let child = try ChildProcess(
                "cat", cat, ["/proc/self/net/dev"], scratch: scratch, in: place)
            var devices: [String] = []
            while let line = try? child.line(within: .seconds(5)) {
                if let name = line.split(separator: ":").first, line.contains(":") { devices.append(name.trimmed) }
            }
            #expect(devices.filter { $0.hasPrefix("lab") || $0.hasPrefix("eth") } == ["lab0", "lab1"])
        }
    }

    @Test
    func socketsLeaveThroughTheAccessOfTheirAddress() throws {
        let network = try EmulatedNetwork(NetworkConditions(accesses: [Self.quick, Self.quick, Self.quick]), seed: 1)
        defer { network.close() }
        for (any, addresses, server) in [
            ("0.0.0.0", network.clientAddresses, network.serverAddress),
            ("::", network.clientAddresses6, network.serverAddress6),
        ] {
            try network.reset(NetworkConditions(accesses: [Self.quick, Self.quick, Self.quick]), seed: 1)
            for access in [2, 0, 1] {
                let pair = try UDPPair(network, server: server, client: addresses[access])
                #expect(try pair.echo() == addresses[access])
                #expect(network.counters[access].up.packets == 1)
                #expect(network.counters[access].down.packets == 1)
            }
            // Without an address of its own, a socket takes the preferred access.
            let unbound = try UDPPair(network, server: server, client: any)
            #expect(try unbound.echo() == addresses[0])
            network.begin([NetworkChange(at: 0, access: 2, .preferred)])
            try network.waitForEvents(["preferred access"])
            #expect(try UDPPair(network, server: server, client: any).echo() == addresses[2])
            #expect(network.counters.map(\.up.packets) == [2, 1, 2])
        }
    }

    @Test
    func anAddressCanVanishAndComeBack() throws {
        let conditions = NetworkConditions(accesses: [Self.quick, Self.quick])
        let network = try EmulatedNetwork(conditions, seed: 1)
        defer { network.close() }
        for (any, addresses, server) in [
            ("0.0.0.0", network.clientAddresses, network.serverAddress),
            ("::", network.clientAddresses6, network.serverAddress6),
        ] {
            let bound = try UDPPair(network, server: server, client: addresses[0])
            #expect(try bound.echo() == addresses[0])
            network.begin([NetworkChange(at: 0, .addressRemoved)])
            try network.waitForEvents(["address removed"])
            #expect(throws: BenchmarkError.self) { try bound.echo(within: 0.1) }
            #expect(try UDPPair(network, server: server, client: any).echo() == addresses[1])
            network.begin([NetworkChange(at: 0, .addressAdded)])
            try network.waitForEvents(["address added"])
            // The kernel makes an address of IPv6 receive a moment later.
            let returned = try UDPPair(network, server: server, client: addresses[0])
            while (try? returned.echo(within: 0.2)) == nil {}
            #expect(try UDPPair(network, server: server, client: any).echo() == addresses[0])
            // A new round begins with everything in its place.
            network.begin([NetworkChange(at: 0, .addressRemoved), NetworkChange(at: 0, access: 1, .preferred)])
            try network.waitForEvents(["address removed", "preferred access"])
            try network.reset(conditions, seed: 1)
            #expect(try UDPPair(network, server: server, client: any).echo() == addresses[0])
        }
    }

    @Test
    func refusedUDPIsAnErrorOfTheSocket() throws {
        var conditions = Self.quick
        conditions.udp = .refused
        let network = try EmulatedNetwork(NetworkConditions(conditions), seed: 1)
        defer { network.close() }
        for (client, server) in [
            (network.clientAddresses[0], network.serverAddress), (network.clientAddresses6[0], network.serverAddress6),
        ] {
            let pair = try UDPPair(network, server: server, client: client)
            let error = try #require(throws: BenchmarkError.self) { try pair.echo() }
            let reason = client.contains(":") ? EACCES : EHOSTUNREACH
            #expect(error.description == "receive: \(String(cString: strerror(reason)))")
        }
        #expect(network.counters[0].up.udpDropped == 2)
    }

    @Test
    func aTranslatorHidesTheClientAndRebinds() throws {
        var conditions = Self.quick
        conditions.hasNAT = true
        let network = try EmulatedNetwork(NetworkConditions(conditions), seed: 1)
        defer { network.close() }
        for (client, outside, server) in [
            (network.clientAddresses[0], "10.77.1.100", network.serverAddress),
            (network.clientAddresses6[0], "fd77:0:0:1::64", network.serverAddress6),
        ] {
            let pair = try UDPPair(network, server: server, client: client)
            #expect(try pair.echo() == outside)
            let port = pair.peerPort
            network.begin([NetworkChange(at: 0, .rebind)])
            try network.waitForEvents(["NAT forgets its mappings"])
            #expect(try pair.echo() == outside)
            #expect(pair.peerPort != port)
        }
    }

    @Test
    func aRebindBreaksTCP() throws {
        var conditions = Self.quick
        conditions.hasNAT = true
        let network = try EmulatedNetwork(NetworkConditions(conditions), seed: 1)
        defer { network.close() }
        for server in [network.serverAddress, network.serverAddress6] {
            let pair = try TCPPair(network, server: server)
            #expect(try pair.sendUp() == 4)
            network.begin([NetworkChange(at: 0, .rebind)])
            try network.waitForEvents(["NAT forgets its mappings"])
            let error = try #require(throws: BenchmarkError.self) {
                _ = try pair.client.send([1, 2, 3, 4])
                return try pair.client.receive(before: .soon)
            }
            #expect(error.description == "receive: \(String(cString: strerror(ECONNRESET)))")
        }
    }

    @Test(arguments: ["reno", "cubic", "bbr"])
    func connectionsUseTheNamedCongestionControl(name: String) throws {
        let available = KernelSetting.value(of: "net/ipv4/tcp_available_congestion_control") ?? ""
        let network = try EmulatedNetwork(NetworkConditions(Self.quick), seed: 1)
        defer { network.close() }
        guard available.split(separator: " ").contains(Substring(name)) else {
            #expect(throws: BenchmarkError.self) { try network.setTCPCongestionControl("no-such-thing") }
            return
        }
        try network.setTCPCongestionControl(name)
        for server in [network.serverAddress, network.serverAddress6] {
            let pair = try TCPPair(network, server: server)
            #expect(try pair.sendUp() == 4)
            #expect(pair.client.congestionControl == name)
            #expect(pair.accepted.congestionControl == name)
        }
    }

    @Test
    func aClosedNetworkLeavesNothingBehind() throws {
        func descriptors() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
        // The first network may make the runtime open descriptors of its own.
        try EmulatedNetwork(NetworkConditions(Self.quick), seed: 1).close()
        let before = try descriptors()
        for _ in 0..<5 {
            let network = try EmulatedNetwork(NetworkConditions(accesses: [Self.quick, Self.quick]), seed: 1)
            network.begin([NetworkChange(at: 100, .rebind)])
            network.close()
            network.close()
            #expect(throws: BenchmarkError.self) { _ = try network.clientPlace { 1 } }
        }
        #expect(try descriptors() <= before)
    }

    /// The link's thread is kept away from the devices by nobody, so that only a flood gets them to overflow.
    @Test
    func whatTheMachineLosesIsSaid() throws {
        let network = try EmulatedNetwork(NetworkConditions(Self.quick), seed: 1)
        defer { network.close() }
        #expect(try UDPPair(network, server: network.serverAddress, client: network.clientAddresses[0]).echo() != "")
        #expect(network.packetsLostByMachine == 0)
        var sent = 0
        let flood = try UDPPair(network, server: network.serverAddress, client: network.clientAddresses[0])
        try network.whileNobodyCarries {
            for _ in 0..<10_100 { sent += try flood.client.send([1]) ?? 0 }
        }
        // What the server's socket had no room for was delivered to it all the same.
        let deadline = UInt64.soon
        func accounted() -> Int { network.counters[0].up.deliveredPackets - 1 + network.packetsLostByMachine }
        while accounted() < sent, Carrier.now < deadline { sched_yield() }
        #expect(accounted() == sent)
        let surplus = sent - Int(Host.devicePackets)
        #expect((surplus...surplus + 2).contains(network.packetsLostByMachine))
        try network.reset(NetworkConditions(Self.quick), seed: 1)
        #expect(network.packetsLostByMachine == 0)
    }

    @Test
    func conditionsThatCannotBeAreRefused() throws {
        var conditions = Self.quick
        conditions.mtu = 100
        #expect(throws: BenchmarkError.self) { try EmulatedNetwork(NetworkConditions(conditions), seed: 1) }
        conditions.mtu = 65_536
        #expect(throws: BenchmarkError.self) { try EmulatedNetwork(NetworkConditions(conditions), seed: 1) }
        #expect(throws: BenchmarkError.self) { try EmulatedNetwork(NetworkConditions(accesses: []), seed: 1) }
        let network = try EmulatedNetwork(NetworkConditions(Self.quick), seed: 1)
        defer { network.close() }
        #expect(throws: BenchmarkError.self) {
            try network.reset(NetworkConditions(accesses: [Self.quick, Self.quick]), seed: 1)
        }
    }

    @Test
    func programsSeeTheMTU() throws {
        var conditions = Self.quick
        conditions.mtu = 1_400
        let network = try EmulatedNetwork(NetworkConditions(conditions), seed: 1)
        defer { network.close() }
        let pair = try TCPPair(network, server: network.serverAddress)
        #expect(pair.client.largestSegment == 1_400 - 52)
        conditions.mtu = 1_300
        try network.reset(NetworkConditions(conditions), seed: 1)
        #expect(try TCPPair(network, server: network.serverAddress).client.largestSegment == 1_300 - 52)
    }
}

extension Substring {
    fileprivate var trimmed: String { self.trimmingCharacters(in: .whitespaces) }
}
