// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import CTernLab
internal import Foundation
internal import LabLink

/// The thread that carries packets from the devices of one end to those of the other, when the link says so.
///
/// Unchecked: everything but the descriptor that wakes the thread up is touched under the lock.
final class Carrier: @unchecked Sendable {
    private let lock = NSLock()
    private var link: EmulatedLink
    private let client: Host
    private let server: Host
    private var scriptBegan: UInt64 = 0
    private var events: [NetworkEvent] = []
    private var lateness = NetworkLateness()
    /// Those for which there was no memory, and those that the kernel refused.
    private var lostPackets = 0
    private var dropsAtReset = 0
    private var isClosed = false

    private let wakeUp: Int32
    private let hasEnded = DispatchSemaphore(value: 0)

    init(_ link: consuming EmulatedLink, client: Host, server: Host) throws {
        self.link = link
        self.client = client
        self.server = server
        self.wakeUp = try check(ternlab_event_open(), "an event descriptor")
        let thread = Thread { [self] in
            ternlab_be_punctual()
            self.carry()
            self.hasEnded.signal()
        }
        thread.name = "lab-link"
        thread.start()
    }

    deinit {
        Foundation.close(self.wakeUp)
    }

    var counters: [AccessCounters] {
        self.lock.withLock { self.link.counters }
    }

    var networkLateness: NetworkLateness {
        self.lock.withLock { self.lateness }
    }

    /// Also counts what the devices had no room for, or refused, since the last reset.
    var packetsLostByMachine: Int {
        self.lock.withLock { self.lostPackets + self.deviceDrops - self.dropsAtReset }
    }

    private var deviceDrops: Int { self.client.deviceDrops + self.server.deviceDrops }

    func reset(_ conditions: NetworkConditions, seed: UInt64) throws {
        try self.lock.withLock {
            self.dropWaiting()
            self.link.reset(conditions, seed: seed)
            self.events.removeAll()
            self.lateness = NetworkLateness()
            self.lostPackets = 0
            self.dropsAtReset = self.deviceDrops
            try self.client.restore(conditions)
            try self.server.restore(conditions)
        }
        self.wake()
    }

    func setCongestionControl(_ name: String) throws {
        try self.lock.withLock {
            try self.client.setCongestionControl(name)
            try self.server.setCongestionControl(name)
        }
    }

    func begin(_ script: [NetworkChange]) {
        self.lock.withLock {
            self.scriptBegan = Self.now
            self.events.removeAll()
            self.link.begin(script, at: self.scriptBegan)
        }
        self.wake()
    }

    func takeEvents() -> [NetworkEvent] {
        self.lock.withLock {
            defer { self.events.removeAll() }
            return self.events
        }
    }

    func close() {
        let wasClosed = self.lock.withLock {
            defer { self.isClosed = true }
            return self.isClosed
        }
        guard !wasClosed else { return }
        self.wake()
        self.hasEnded.wait()
        self.client.close()
        self.server.close()
    }

    /// As on a machine on which the thread does not get its turn.
    func hold(_ body: () throws -> Void) rethrows {
        try self.lock.withLock(body)
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(self.wakeUp, &one, MemoryLayout.size(ofValue: one))
    }

    static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

// MARK: The thread

extension Carrier {
    /// How many packets are taken from one device before the others have their turn.
    private static let batch = 32

    private func carry() {
        let devices = self.client.tuns + self.server.tuns
        var descriptors = (devices + [self.wakeUp]).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        var mayHavePackets = devices.map { _ in true }
        while true {
            self.lock.lock()
            let isClosed = self.isClosed
            var wait: Int64 = 0
            if !isClosed { wait = self.turn(&mayHavePackets) }
            self.lock.unlock()
            guard !isClosed else { return }
            guard ternlab_poll(&descriptors, descriptors.count, wait) > 0 else { continue }
            for device in devices.indices where descriptors[device].revents != 0 { mayHavePackets[device] = true }
            if descriptors[devices.count].revents != 0 {
                var count: UInt64 = 0
                _ = read(self.wakeUp, &count, MemoryLayout.size(ofValue: count))
            }
        }
    }

    /// - Returns: how many nanoseconds there is nothing to do unless a packet comes; negative: for ever.
    private func turn(_ mayHavePackets: inout [Bool]) -> Int64 {
        var isBusy = false
        let accesses = self.client.tuns.count
        for device in mayHavePackets.indices where mayHavePackets[device] {
            let isClient = device < accesses
            let access = isClient ? device : device - accesses
            let tun = isClient ? self.client.tuns[access] : self.server.tuns[access]
            mayHavePackets[device] = self.receive(tun, access, isClient ? .up : .down)
            isBusy = isBusy || mayHavePackets[device]
        }
        self.deliver()
        self.applyChanges()
        guard !isBusy else { return 0 }
        guard let next = self.link.nextTime else { return -1 }
        return max(0, Int64(clamping: next) - Int64(clamping: Self.now))
    }

    /// - Returns: whether there may be more.
    private func receive(_ tun: Int32, _ access: Int, _ direction: Direction) -> Bool {
        for _ in 0..<Self.batch {
            guard let buffer = self.link.pool.take() else {
                // What stayed in the device would wake this thread up all the time.
                var byte: UInt8 = 0
                guard read(tun, &byte, 1) > 0 else { return false }
                self.lostPackets += 1
                continue
            }
            let space = self.link.pool.space(of: buffer)
            let count = read(tun, space.baseAddress, space.count)
            guard count > 0 else {
                self.link.pool.giveBack(buffer)
                return false
            }
            self.link.sent(buffer, count: count, access: access, direction: direction, at: Self.now)
        }
        return true
    }

    /// What the hosts sent before is not of this round.
    private func dropWaiting() {
        guard let buffer = self.link.pool.take() else { return }
        let space = self.link.pool.space(of: buffer)
        for tun in self.client.tuns + self.server.tuns {
            // As many as wait there at most: a host may be sending all the time.
            for _ in 0..<Host.devicePackets {
                guard read(tun, space.baseAddress, space.count) > 0 else { break }
            }
        }
        self.link.pool.giveBack(buffer)
    }

    private func deliver() {
        for _ in 0..<4 * Self.batch {
            let now = Self.now
            guard let arrival = self.link.takeArrival(by: now) else { return }
            self.lateness.count(now - min(now, arrival.due))
            let tuns = arrival.direction == .up ? self.server.tuns : self.client.tuns
            let packet = self.link.pool.space(of: arrival.buffer)
            if write(tuns[arrival.access], packet.baseAddress, arrival.count) < 0 { self.lostPackets += 1 }
            self.link.pool.giveBack(arrival.buffer)
        }
    }

    private func applyChanges() {
        for applied in self.link.takeAppliedChanges() {
            var text = applied.change.what.text
            do {
                try self.client.apply(applied.change.what, access: applied.change.access)
            } catch {
                text += " failed: \(error)"
            }
            let at = Double(applied.time - min(applied.time, self.scriptBegan)) / 1e9
            self.events.append(NetworkEvent(at: at, access: applied.change.access, text: text))
        }
    }
}
