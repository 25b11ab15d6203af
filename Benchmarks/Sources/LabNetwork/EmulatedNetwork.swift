// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import BenchSupport
internal import CTernLab
package import LabLink
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A client and a server on this machine with a network of one's own choosing between them: each has a network
/// namespace, and a TUN device for each access network; a thread carries the packets from one end to the other through
/// an ``EmulatedLink``.
///
/// Nothing outside sees it, and nothing of it outlives ``close()`` or this process: devices vanish with their
/// descriptors, namespaces with their last thread and process. All methods may be called from every thread and block
/// shortly.
package final class EmulatedNetwork: Sendable {
    package let serverAddress: String
    package let serverAddress6: String
    /// The client's address in each access network. What is sent from one of them leaves through its access; what is
    /// sent from no address in particular leaves through the preferred one, at first that of number 0.
    package let clientAddresses: [String]
    package let clientAddresses6: [String]

    private let client: NetworkEnd
    private let server: NetworkEnd
    private let carrier: Carrier

    /// - Parameter seed: what is lost, and how far delays go up and down: the same for the same seed and packets.
    /// - Throws: ``BenchmarkError`` where the machine does not allow it; ``LabMachine/missing()`` says why.
    package init(_ conditions: NetworkConditions, seed: UInt64) throws {
        guard (1...AddressPlan.maximumAccesses).contains(conditions.accesses.count) else {
            throw BenchmarkError("a network has between one and \(AddressPlan.maximumAccesses) accesses")
        }
        let plan = AddressPlan(accesses: conditions.accesses.count)
        var undo: [() -> Void] = []
        do {
            let client = try NetworkEnd(name: "client")
            undo.append(client.close)
            let server = try NetworkEnd(name: "server")
            undo.append(server.close)
            let clientHost = try client.run { try Host(of: .client, plan, conditions) }
            undo.append(clientHost.close)
            let serverHost = try server.run { try Host(of: .server, plan, conditions) }
            undo.append(serverHost.close)
            self.carrier = try Carrier(
                EmulatedLink(conditions, addresses: plan.accesses, seed: seed), client: clientHost, server: serverHost)
            (self.client, self.server) = (client, server)
        } catch {
            for step in undo.reversed() { step() }
            throw error
        }
        self.serverAddress = plan.server4.text
        self.serverAddress6 = plan.server6.text
        self.clientAddresses = plan.accesses.map { $0.client4.text }
        self.clientAddresses6 = plan.accesses.map { $0.client6.text }
    }

    deinit {
        self.close()
    }

    /// For programs that shall be the client.
    package var clientPlace: ChildProcess.Place {
        let end = self.client
        return { start in try end.run(start) }
    }

    /// For programs that shall be the server.
    package var serverPlace: ChildProcess.Place {
        let end = self.server
        return { start in try end.run(start) }
    }

    /// Runs something in the client's network, such as opening a socket, which stays there whoever uses it later.
    package func atClient<Value>(_ body: @Sendable () throws -> Value) throws -> Value { try self.client.run(body) }

    /// As ``atClient(_:)``, in the server's network.
    package func atServer<Value>(_ body: @Sendable () throws -> Value) throws -> Value { try self.server.run(body) }

    /// What new TCP connections of both ends use, such as `cubic`, `bbr` or `reno`.
    ///
    /// - Throws: ``BenchmarkError`` when the kernel does not have it, or does not allow it here.
    package func setTCPCongestionControl(_ name: String) throws {
        do {
            try self.carrier.setCongestionControl(name)
        } catch {
            throw BenchmarkError("TCP cannot use \(name): \(error)")
        }
    }

    /// Makes the network as if it were new: nothing is under way, counters are zero, addresses and routes are as at the
    /// beginning. The hosts' sockets stay.
    ///
    /// - Parameter conditions: with as many accesses as before.
    package func reset(_ conditions: NetworkConditions, seed: UInt64) throws {
        guard conditions.accesses.count == self.clientAddresses.count else {
            throw BenchmarkError("a network keeps the number of its accesses")
        }
        try self.carrier.reset(conditions, seed: seed)
    }

    /// Begins a script; its time 0 is now. What is left of an earlier one is forgotten.
    package func begin(_ script: [NetworkChange]) {
        self.carrier.begin(script)
    }

    /// What the script did since the last call.
    package func takeEvents() -> [NetworkEvent] {
        self.carrier.takeEvents()
    }

    /// One for each access, since the beginning or the last ``reset(_:seed:)``.
    package var counters: [AccessCounters] {
        self.carrier.counters
    }

    /// How late this machine was with what it delivered, since the beginning or the last ``reset(_:seed:)``: whether to
    /// believe what was measured meanwhile.
    package var lateness: NetworkLateness {
        self.carrier.networkLateness
    }

    /// How many packets were lost because this machine could not keep up, not because the conditions say so; since the
    /// beginning or the last ``reset(_:seed:)``. Whoever measured meanwhile measured the machine.
    package var packetsLostByMachine: Int {
        self.carrier.packetsLostByMachine
    }

    /// For tests: as on a machine on which the thread that carries packets does not get its turn.
    func whileNobodyCarries(_ body: () throws -> Void) rethrows {
        try self.carrier.hold(body)
    }

    /// Ends the network. Programs that still run in it lose their devices. Further calls do nothing.
    package func close() {
        self.carrier.close()
        self.client.close()
        self.server.close()
    }
}

/// What a script did to the network.
package struct NetworkEvent: Sendable, Equatable {
    /// Seconds after the beginning of the script.
    package var at: Double
    package var access: Int
    /// Such as "link down"; with the reason if the machine did not do it.
    package var text: String
}

/// How much later than due packets were delivered, because the thread that carries them did not run in time.
package struct NetworkLateness: Sendable, Equatable {
    package var packets = 0
    /// Those that were late by more than a millisecond.
    package var latePackets = 0
    package var worstSeconds = 0.0

    package init() {}

    mutating func count(_ nanoseconds: UInt64) {
        self.packets += 1
        if nanoseconds > 1_000_000 { self.latePackets += 1 }
        self.worstSeconds = max(self.worstSeconds, Double(nanoseconds) / 1e9)
    }
}
