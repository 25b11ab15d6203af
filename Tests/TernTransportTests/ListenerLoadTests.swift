// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import Testing

@testable import TernTransport

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

@Suite("What a listener takes on")
struct ListenerLoadTests {
    @Test func networksAreIPv4AddressesAndIPv6Prefixes() {
        let host = ClientNetwork(ipAddress: [192, 0, 2, 1])
        #expect(host != ClientNetwork(ipAddress: [192, 0, 2, 2]))
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]
        #expect(host == ClientNetwork(ipAddress: mapped))
        #expect(host.bytes == [192, 0, 2, 1])
        let prefix: [UInt8] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1]
        let network = ClientNetwork(ipAddress: prefix + [0, 0, 0, 0, 0, 0, 0, 1])
        #expect(network == ClientNetwork(ipAddress: prefix + [9, 9, 9, 9, 9, 9, 9, 9]))
        #expect(network != ClientNetwork(ipAddress: [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]))
        #expect(network.bytes == prefix)
        // An IPv4 address and an IPv6 network with the same number.
        #expect(host != ClientNetwork(ipAddress: [0, 0, 0, 0, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]))
    }

    @Test func defaultsFollowWhatTheProcessMayOpen() {
        let plenty = ListenerCaps(ListenerLimits(), descriptors: nil)
        #expect(plenty.connections == 100_000)
        #expect(plenty.handshakes == 4_096)
        #expect(plenty.connectionsPerAddress == 16_384)
        #expect(plenty.handshakesPerAddress == 1_024)
        let usual = ListenerCaps(ListenerLimits(), descriptors: ListenerCaps.descriptors(limit: 1_024, inUse: 24))
        #expect(usual.connections == 872)
        #expect(usual.handshakes == 436)
        #expect(usual.connectionsPerAddress == 436)
        #expect(usual.handshakesPerAddress == 109)
        let poor = ListenerCaps(ListenerLimits(), descriptors: ListenerCaps.descriptors(limit: 40, inUse: 20))
        #expect(poor.connections == 15)
        #expect(poor.handshakesPerAddress == 1)
        #expect(ListenerCaps.descriptors(limit: 40, inUse: 40) == 1, "a listener that takes nobody is no listener")
    }

    @Test func whatIsAskedForIsDone() {
        var limits = ListenerLimits()
        limits.connections = 5
        let few = ListenerCaps(limits, descriptors: 1_000)
        #expect(few.connections == 5)
        #expect(few.connectionsPerAddress >= 5)
        #expect(few.handshakesPerAddress >= 5)
        limits.connections = 50_000
        limits.connectionsPerAddress = 50_000
        let proxied = ListenerCaps(limits, descriptors: 1_000)
        #expect(proxied.connections == 50_000)
        #expect(proxied.connectionsPerAddress == 50_000)
        var others = ListenerLimits()
        others.connections = 1
        others.handshakes = 2
        let completed = limits.completed(by: others)
        #expect(completed.connections == 50_000)
        #expect(completed.handshakes == 2)
    }

    @Test func oneNetworkLeavesRoomForOthers() {
        var limits = ListenerLimits()
        limits.connections = 10
        limits.handshakes = 6
        limits.connectionsPerAddress = 4
        limits.handshakesPerAddress = 2
        var load = ListenerLoad(ListenerCaps(limits, descriptors: nil))
        let (greedy, other) = (Self.network(1), Self.network(2))
        #expect(load.begin(from: greedy) == nil)
        #expect(load.begin(from: greedy) == nil)
        #expect(load.begin(from: greedy) == .handshakesPerAddress)
        #expect(load.begin(from: other) == nil)
        load.establish(from: greedy)
        load.establish(from: greedy)
        #expect(load.begin(from: greedy) == nil)
        #expect(load.begin(from: greedy) == nil)
        load.establish(from: greedy)
        load.establish(from: greedy)
        #expect(load.begin(from: greedy) == .connectionsPerAddress)
        load.end(from: greedy, isEstablished: true)
        #expect(load.begin(from: greedy) == nil)
    }

    /// Whatever comes and goes, the counts are those of the connections that are there, and nothing is left of those that went.
    @Test func countsFollowAModel() {
        var limits = ListenerLimits()
        limits.connections = 40
        limits.handshakes = 12
        limits.connectionsPerAddress = 9
        limits.handshakesPerAddress = 4
        var load = ListenerLoad(ListenerCaps(limits, descriptors: nil))
        var model: [(network: Int, isEstablished: Bool)] = []
        var state: UInt64 = 7
        func random(_ count: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % count
        }
        for _ in 0..<20_000 {
            switch random(3) {
            case 0:
                let network = random(8)
                let own = model.filter { $0.network == network }
                let fits =
                    model.count < 40 && model.count(where: { !$0.isEstablished }) < 12 && own.count < 9
                    && own.count(where: { !$0.isEstablished }) < 4
                #expect((load.begin(from: Self.network(network)) == nil) == fits)
                if fits { model.append((network, false)) }
            case 1:
                guard let index = model.firstIndex(where: { !$0.isEstablished }) else { continue }
                model[index].isEstablished = true
                load.establish(from: Self.network(model[index].network))
            default:
                guard !model.isEmpty else { continue }
                let gone = model.remove(at: random(model.count))
                load.end(from: Self.network(gone.network), isEstablished: gone.isEstablished)
            }
            #expect(load.connections == model.count)
            #expect(load.handshakes == model.count(where: { !$0.isEstablished }))
            #expect(load.networkCount == Set(model.map(\.network)).count)
        }
    }

    private static func network(_ number: Int) -> ClientNetwork {
        ClientNetwork(ipAddress: [10, 0, 0, UInt8(number)])
    }
}

@Suite("Addresses and errors as text")
struct AddressTextTests {
    @Test func addressesAreWrittenAsPeopleWriteThem() throws {
        #expect(try SocketAddress(ipAddress: "192.0.2.1", port: 4433).hostAndPort == "192.0.2.1:4433")
        #expect(try SocketAddress(ipAddress: "2001:db8::1", port: 443).hostAndPort == "[2001:db8::1]:443")
        #expect(try SocketAddress(ipAddress: "::ffff:192.0.2.1", port: 443).hostAndPort == "192.0.2.1:443")
        #expect(try SocketAddress(ipAddress: "::", port: 0).hostAndPort == "[::]:0")
    }

    @Test func anAddressOfALinkHasItsZone() throws {
        let device = try #require(try System.enumerateDevices().first)
        // A name, and the number of one that is gone.
        for zone in [device.name, "4000000"] {
            let address = try SocketAddress.makeAddressResolvingHost("fe80::1%\(zone)", port: 4433)
            #expect(address.hostAndPort == "[fe80::1%\(zone)]:4433")
        }
    }

    @Test func nothingIsSaidTwice() throws {
        let cause = TransportError(
            .unreachable, message: "nowhere.test does not resolve: name or service not known",
            cause: IOError(errnoCode: EHOSTUNREACH, reason: "getaddrinfo"))
        let error = TransportError(
            .cannotListen, message: "cannot listen on nowhere.test:1: \(cause.message)", cause: cause)
        #expect(
            error.description == "cannotListen: cannot listen on nowhere.test:1: nowhere.test does not resolve: "
                + "name or service not known (\(try #require(cause.description.split(separator: "(").last))")
        // What the message does not say, the cause says.
        let other = TransportError(.undelivered, message: "not everything arrived", cause: cause)
        #expect(other.description == "undelivered: not everything arrived (\(cause.description))")
    }

    @Test func systemErrorsAreSaidInWords() throws {
        let inUse = IOError(errnoCode: EADDRINUSE, reason: "bind(descriptor:ptr:bytes:)")
        #expect(inUse.systemText == "address already in use (errno \(EADDRINUSE))")
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: 4433)
        let error = TransportError.cannotListen(on: address, over: "UDP", cause: inUse)
        #expect(error.code == .cannotListen)
        #expect(
            error.description
                == "cannotListen: cannot listen on 127.0.0.1:4433 over UDP: address already in use (errno \(EADDRINUSE))"
        )
        let refused = TransportError(
            .connectionRefused, message: "nobody listens there", initiator: .peer,
            cause: IOError(errnoCode: ECONNREFUSED, reason: "connect(descriptor:addr:size:)"))
        #expect(
            refused.description
                == "connectionRefused by the peer: nobody listens there (connection refused, errno \(ECONNREFUSED))")
    }
}
