// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import CTernLab
internal import LabLink

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The devices, addresses and routes of one end. Made by a thread of the end's namespace; usable from all others, since
/// its descriptors belong to the namespace.
///
/// Confined to whoever holds the carrier's lock.
final class Host {
    enum Side {
        case client
        case server
    }

    /// The TUN devices, one for each access.
    let tuns: [Int32]
    private let indexes: [Int32]
    private let netlink: Int32
    private let side: Side
    private let plan: AddressPlan
    private var preferred = 0
    /// What TCP uses over these routes; `nil`: the kernel's default.
    private var congestionControl: String?
    /// Whether the client has its address of each access.
    private var hasAddress: [Bool]

    init(of side: Side, _ plan: AddressPlan, _ conditions: NetworkConditions) throws {
        self.side = side
        self.plan = plan
        self.netlink = try check(ternlab_netlink_open(), "a netlink socket")
        var tuns: [Int32] = []
        do {
            for access in conditions.accesses.indices {
                tuns.append(try check(ternlab_tun_open("lab\(access)"), "a TUN device"))
            }
            self.indexes = try conditions.accesses.indices.map {
                try check(ternlab_device_index("lab\($0)"), "a TUN device")
            }
        } catch {
            for tun in tuns { _ = Self.close(tun) }
            _ = Self.close(self.netlink)
            throw error
        }
        self.tuns = tuns
        self.hasAddress = tuns.map { _ in false }
        do {
            try self.raise(conditions)
        } catch {
            self.close()
            throw error
        }
    }

    /// The devices vanish. Once, when nobody carries packets any more.
    func close() {
        for tun in self.tuns { _ = Self.close(tun) }
        _ = Self.close(self.netlink)
    }

    /// As at the beginning, with these conditions.
    func restore(_ conditions: NetworkConditions) throws {
        for (access, conditions) in conditions.accesses.enumerated() {
            try self.bringUp(access, conditions)
        }
        guard self.side == .client else { return }
        for access in self.tuns.indices where !self.hasAddress[access] { try self.addAddress(access) }
        try self.prefer(0)
        try self.awaitAddresses()
    }

    /// How many packets found no room in the devices on their way to the link.
    var deviceDrops: Int {
        self.indexes.reduce(0) { $0 + max(0, Int(ternlab_device_drops(self.netlink, $1))) }
    }

    /// The routes say it, not the namespace: the default of a namespace can only be what everybody on the machine may
    /// use, while a route may name whatever the kernel has.
    func setCongestionControl(_ name: String) throws {
        guard name != self.congestionControl else { return }
        let before = self.congestionControl
        self.congestionControl = name
        do {
            switch self.side {
            case .server:
                for (access, index) in self.indexes.enumerated() { try self.addRouteToClient(access, index) }
            case .client:
                for access in self.tuns.indices where self.hasAddress[access] { try self.addRoutes(access) }
            }
        } catch {
            self.congestionControl = before
            throw error
        }
    }

    /// How many packets wait in a device until the link takes them. The link's own queue is what is emulated; this one
    /// is only to be long enough for the moments in which the link's thread does not run.
    static let devicePackets: UInt32 = 10_000
    private static let loopback: Int32 = 1
    private static func table(of access: Int) -> UInt32 { UInt32(100 + access) }
    private static let mainTable: UInt32 = 254

    private func raise(_ conditions: NetworkConditions) throws {
        try check(ternlab_device_up(self.netlink, Self.loopback, 0, 0), "the loopback device")
        for (access, conditions) in conditions.accesses.enumerated() { try self.bringUp(access, conditions) }
        switch self.side {
        case .server:
            for (family, address) in self.serverAddresses {
                try check(
                    ternlab_address(self.netlink, true, family, Self.loopback, address, Self.bits(address)),
                    "an address")
            }
            for (access, index) in self.indexes.enumerated() { try self.addRouteToClient(access, index) }
        case .client:
            for access in self.tuns.indices {
                try self.addAddress(access)
                for (family, address) in self.clientAddresses(access) {
                    try check(
                        ternlab_source_rule(self.netlink, family, address, Self.table(of: access)), "a routing rule")
                }
            }
        }
        try self.awaitAddresses()
    }

    /// Whoever gets a network may use it at once. While a script runs nobody waits: the packets would.
    private func awaitAddresses() throws {
        let addresses =
            self.side == .server
            ? self.serverAddresses : self.tuns.indices.flatMap { self.clientAddresses($0) }
        for (family, address) in addresses {
            try check(ternlab_await_address(self.netlink, family, address), "an address ready")
        }
    }

    private func bringUp(_ access: Int, _ conditions: AccessConditions) throws {
        guard (1_280...EmulatedLink.bytesPerBuffer).contains(conditions.mtu) else {
            throw BenchmarkError("an MTU is between 1280 and \(EmulatedLink.bytesPerBuffer)")
        }
        try check(
            ternlab_device_up(self.netlink, self.indexes[access], UInt32(conditions.mtu), Self.devicePackets),
            "a device ready")
    }

    private func addRouteToClient(_ access: Int, _ index: Int32) throws {
        let addresses = self.plan.accesses[access]
        for (family, server) in self.serverAddresses {
            let network =
                family == AF_INET ? AddressPlan.network4(of: addresses) : AddressPlan.network6(of: addresses)
            try check(
                ternlab_route(
                    self.netlink, true, family, network, family == AF_INET ? 24 : 64, index, server, Self.mainTable, 0,
                    self.congestionControl), "a route")
        }
    }

    private static func close(_ descriptor: Int32) -> Int32 {
        #if canImport(Glibc)
        Glibc.close(descriptor)
        #else
        Darwin.close(descriptor)
        #endif
    }
}

// MARK: The client's addresses and routes

extension Host {
    /// What happens to a client's address, not to the link.
    func apply(_ change: NetworkChange.What, access: Int) throws {
        guard self.side == .client, self.tuns.indices.contains(access) else { return }
        switch change {
        case .addressRemoved where self.hasAddress[access]: try self.removeAddress(access)
        case .addressAdded where !self.hasAddress[access]: try self.addAddress(access)
        case .preferred: try self.prefer(access)
        default: break
        }
    }

    /// The preferred access's default route has the smaller number and wins, as long as it is there. When an address
    /// vanishes its routes do, and what is not bound to an address leaves through the next access: so do a laptop and a
    /// phone.
    private func metric(of access: Int) -> UInt32 { access == self.preferred ? 10 : 20 + UInt32(access) }

    private func addAddress(_ access: Int) throws {
        let index = self.indexes[access]
        for (family, address) in self.clientAddresses(access) {
            try check(ternlab_address(self.netlink, true, family, index, address, Self.bits(address)), "an address")
        }
        try self.addRoutes(access)
        self.hasAddress[access] = true
    }

    private func addRoutes(_ access: Int) throws {
        let index = self.indexes[access]
        for (family, address) in self.clientAddresses(access) {
            for (table, metric) in [(Self.mainTable, self.metric(of: access)), (Self.table(of: access), 10)] {
                try check(
                    ternlab_route(
                        self.netlink, true, family, nil, 0, index, address, table, metric, self.congestionControl),
                    "a route")
            }
        }
    }

    private func removeAddress(_ access: Int) throws {
        let index = self.indexes[access]
        for (family, address) in self.clientAddresses(access) {
            // The kernel takes away IPv4's routes with the address that they prefer, but not all of IPv6's.
            for (table, metric) in [(Self.mainTable, self.metric(of: access)), (Self.table(of: access), 10)] {
                _ = ternlab_route(self.netlink, false, family, nil, 0, index, nil, table, metric, nil)
            }
            let result = ternlab_address(self.netlink, false, family, index, address, Self.bits(address))
            guard result == 0 else { throw BenchmarkError("the address stays: \(String(cString: strerror(-result)))") }
        }
        self.hasAddress[access] = false
    }

    /// The new route takes the place of the old one, so that there is no moment without a default route.
    private func prefer(_ access: Int) throws {
        let (last, oldMetric) = (self.preferred, self.metric(of: access))
        guard access != last else { return }
        self.preferred = access
        if self.hasAddress[access] {
            try self.addDefaultRoute(access)
            for (family, _) in self.clientAddresses(access) {
                _ = ternlab_route(
                    self.netlink, false, family, nil, 0, self.indexes[access], nil, Self.mainTable, oldMetric, nil)
            }
        }
        guard self.hasAddress[last] else { return }
        try self.addDefaultRoute(last)
        // Nothing took its place if the new one has no address.
        guard !self.hasAddress[access] else { return }
        for (family, _) in self.clientAddresses(last) {
            _ = ternlab_route(
                self.netlink, false, family, nil, 0, self.indexes[last], nil, Self.mainTable, self.metric(of: access),
                nil)
        }
    }

    private func addDefaultRoute(_ access: Int) throws {
        for (family, address) in self.clientAddresses(access) {
            try check(
                ternlab_route(
                    self.netlink, true, family, nil, 0, self.indexes[access], address, Self.mainTable,
                    self.metric(of: access), self.congestionControl), "a route")
        }
    }

    private var serverAddresses: [(family: Int32, address: [UInt8])] {
        Self.supported([(AF_INET, self.plan.server4), (AF_INET6, self.plan.server6)])
    }

    private func clientAddresses(_ access: Int) -> [(family: Int32, address: [UInt8])] {
        let addresses = self.plan.accesses[access]
        return Self.supported([(AF_INET, addresses.client4), (AF_INET6, addresses.client6)])
    }

    /// Some kernels, most of all those of containers, have IPv6 turned off.
    private static func supported(
        _ addresses: [(family: Int32, address: [UInt8])]
    ) -> [(family: Int32, address: [UInt8])] {
        KernelSetting.hasIPv6 ? addresses : addresses.filter { $0.family == AF_INET }
    }

    private static func bits(_ address: [UInt8]) -> UInt8 { UInt8(address.count * 8) }
}
