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
    }

    /// The routes say it, not the namespace: the default of a namespace can only be what everybody on the machine may use, while
    /// a route may name whatever the kernel has.
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

    /// How many packets wait in a device until the link takes them. The link's own queue is what is emulated; this one is
    /// only to be long enough for the moments in which the link's thread does not run.
    private static let devicePackets: UInt32 = 10_000
    private static let loopback: Int32 = 1
    private static func table(of access: Int) -> UInt32 { UInt32(100 + access) }
    private static let mainTable: UInt32 = 254

    private func raise(_ conditions: NetworkConditions) throws {
        try check(ternlab_device_up(self.netlink, Self.loopback, 0, 0), "the loopback device")
        for (access, conditions) in conditions.accesses.enumerated() { try self.bringUp(access, conditions) }
        switch self.side {
        case .server:
            try check(
                ternlab_address(self.netlink, true, AF_INET, Self.loopback, self.plan.server4, 32), "an address")
            try check(
                ternlab_address(self.netlink, true, AF_INET6, Self.loopback, self.plan.server6, 128),
                "an IPv6 address")
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
        try check(
            ternlab_route(
                self.netlink, true, AF_INET, AddressPlan.network4(of: addresses), 24, index, self.plan.server4,
                Self.mainTable, 0, self.congestionControl), "a route")
        try check(
            ternlab_route(
                self.netlink, true, AF_INET6, AddressPlan.network6(of: addresses), 64, index, self.plan.server6,
                Self.mainTable, 0, self.congestionControl), "an IPv6 route")
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

    /// The new routes come before the old ones go: there is no moment without a default route.
    private func prefer(_ access: Int) throws {
        let (last, lastMetric) = (self.preferred, self.metric(of: self.preferred))
        guard access != last else { return }
        let oldMetric = self.metric(of: access)
        self.preferred = access
        if self.hasAddress[access] {
            try self.changeDefaultRoute(access, add: true, self.metric(of: access))
            try self.changeDefaultRoute(access, add: false, oldMetric)
        }
        if self.hasAddress[last] {
            try self.changeDefaultRoute(last, add: true, self.metric(of: last))
            try self.changeDefaultRoute(last, add: false, lastMetric)
        }
    }

    private func changeDefaultRoute(_ access: Int, add: Bool, _ metric: UInt32) throws {
        for (family, address) in self.clientAddresses(access) {
            try check(
                ternlab_route(
                    self.netlink, add, family, nil, 0, self.indexes[access], add ? address : nil, Self.mainTable,
                    metric, self.congestionControl), "a route")
        }
    }

    private func clientAddresses(_ access: Int) -> [(family: Int32, address: [UInt8])] {
        let addresses = self.plan.accesses[access]
        return [(AF_INET, addresses.client4), (AF_INET6, addresses.client6)]
    }

    private static func bits(_ address: [UInt8]) -> UInt8 { UInt8(address.count * 8) }
}
