// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import NIOPosix
import TernTesting

/// The inside of a ``TrialRelay``; lives on its event loop.
final class RelayCore {
    let loop: any EventLoop
    var server: SocketAddress?
    /// Nothing passes before this moment.
    private(set) var outageUntil = NIODeadline.uptimeNanoseconds(0)
    private(set) var sentByClients = 0
    private(set) var conditions = NetworkConditions()
    private(set) var front: (any Channel)?
    private var listener: (any Channel)?
    private var random: SeededRandom
    private var isStopped = false
    /// By the number under which each began, so that the order is that of their beginnings.
    private var byteRelays: [Int: ByteRelay] = [:]
    private var datagramRelays: [SocketAddress: DatagramRelay] = [:]
    private var lastNumber = 0

    init(seed: UInt64, loop: any EventLoop) {
        self.random = SeededRandom(seed: seed)
        self.loop = loop
        self.conditions.delay = .milliseconds(1)
    }

    func listens(tcp: any Channel, udp: any Channel) {
        (self.listener, self.front) = (tcp, udp)
    }

    func stop() -> EventLoopFuture<Void> {
        self.isStopped = true
        let channels = [self.listener, self.front].compactMap { $0 }
        for relay in self.byteRelays.values { relay.breakOff() }
        for relay in self.datagramRelays.values { relay.stop() }
        self.datagramRelays = [:]
        return EventLoopFuture.andAllComplete(channels.map { $0.close() }, on: self.loop)
    }

    func makeSeed() -> UInt64 { self.random.next() }
    func countSent(_ count: Int) { self.sentByClients += count }

    // MARK: Connections

    /// A client connected over TCP.
    func accepted(_ client: any Channel) {
        guard !self.isStopped, let server else { return ByteRelay.reset(client) }
        self.lastNumber += 1
        let number = self.lastNumber
        let relay = ByteRelay(core: self, client: client) { [weak self] in self?.byteRelays[number] = nil }
        self.byteRelays[number] = relay
        relay.connect(to: server)
    }

    func fromClient(_ envelope: AddressedEnvelope<ByteBuffer>) {
        guard !self.isStopped else { return }
        self.sentByClients += 1
        let client = envelope.remoteAddress
        let relay: DatagramRelay
        if let known = self.datagramRelays[client] {
            relay = known
        } else {
            self.lastNumber += 1
            relay = DatagramRelay(core: self, client: client, number: self.lastNumber)
            self.datagramRelays[client] = relay
            relay.rebind()
        }
        relay.fromClient(envelope.data)
    }

    // MARK: Disturbances

    func disturb(_ disturbance: TrialRelay.Disturbance) {
        switch disturbance {
        case .reset(let choice):
            self.choose(choice, { $0.breakOff() }, { $0.silence() })
        case .end(let choice):
            self.choose(choice, { $0.end() }, { $0.rebind() })
        case .silence(let choice):
            self.choose(choice, { $0.silence() }, { $0.silence() })
        case .resetAll:
            for relay in self.byteRelays.values { relay.breakOff() }
            for relay in self.datagramRelays.values { relay.silence() }
        case .outage(let time):
            self.outageUntil = max(self.outageUntil, .now() + time)
            self.loop.assumeIsolated().scheduleTask(in: time) { for relay in self.byteRelays.values { relay.go() } }
        case .weather(let delay, let jitter, let loss):
            (self.conditions.delay, self.conditions.jitter, self.conditions.loss) = (delay, jitter, loss)
            for relay in self.byteRelays.values { relay.weatherChanged() }
            for relay in self.datagramRelays.values { relay.weatherChanged() }
        }
    }

    var isDown: Bool { .now() < self.outageUntil }

    private func choose(_ choice: Int, _ one: (ByteRelay) -> Void, _ other: (DatagramRelay) -> Void) {
        let bytes = self.byteRelays.filter { !$0.value.isSilent }
        let datagrams = self.datagramRelays.values.filter { !$0.isSilent }
        let numbers = (bytes.keys + datagrams.map(\.number)).sorted()
        guard !numbers.isEmpty else { return }
        let number = numbers[choice % numbers.count]
        if let relay = bytes[number] { one(relay) }
        if let relay = datagrams.first(where: { $0.number == number }) { other(relay) }
    }
}

/// One address of a client, over UDP.
final class DatagramRelay {
    let number: Int
    private unowned let core: RelayCore
    private let client: SocketAddress
    /// Where the server is seen in the simulated network, wherever it is.
    private let world: SocketAddress
    private var network: SimulatedNetwork
    private var upstream: (any Channel)?
    private var timer: Scheduled<Void>?
    private(set) var isSilent = false
    private var lastBinding = 0

    init(core: RelayCore, client: SocketAddress, number: Int) {
        self.core = core
        self.client = client
        self.number = number
        self.world = core.front?.localAddress ?? client
        self.network = SimulatedNetwork(seed: core.makeSeed(), inside: client, conditions: core.conditions)
    }

    /// The client is seen under another address.
    func rebind() {
        self.lastBinding += 1
        let binding = self.lastBinding
        let bound = NIOLoopBound(self, eventLoop: self.core.loop)
        self.upstream?.close(promise: nil)
        self.upstream = nil
        DatagramBootstrap(group: self.core.loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = DatagramReader { bound.value.fromServer($0) }
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
            .bind(host: "127.0.0.1", port: 0)
            .assumeIsolated()
            .whenSuccess { channel in
                guard binding == self.lastBinding else { return channel.close(promise: nil) }
                self.upstream = channel
            }
    }

    func silence() {
        self.isSilent = true
        self.upstream?.close(promise: nil)
        self.upstream = nil
        self.lastBinding += 1
    }

    func stop() {
        self.silence()
        self.timer?.cancel()
    }

    func weatherChanged() {
        (self.network.inbound, self.network.outbound) = (self.core.conditions, self.core.conditions)
    }

    func fromClient(_ bytes: ByteBuffer) {
        self.pass(SimulatedDatagram(source: self.client, destination: self.world, bytes: bytes))
    }

    private func fromServer(_ envelope: AddressedEnvelope<ByteBuffer>) {
        guard envelope.remoteAddress == self.core.server else { return }
        self.pass(SimulatedDatagram(source: self.world, destination: self.client, bytes: envelope.data))
    }

    private func pass(_ datagram: SimulatedDatagram) {
        guard !self.isSilent, !self.core.isDown else { return }
        self.network.send(datagram, now: .now())
        self.setTimer()
    }

    private func setTimer() {
        guard self.timer == nil, let next = self.network.nextArrival else { return }
        self.timer = self.core.loop.assumeIsolated().scheduleTask(deadline: next) {
            self.timer = nil
            self.deliver()
            self.setTimer()
        }
    }

    private func deliver() {
        for datagram in self.network.arrivals(upTo: .now()) where !self.isSilent {
            if datagram.destination == self.client {
                let envelope = AddressedEnvelope(remoteAddress: self.client, data: datagram.bytes)
                self.core.front?.write(envelope, promise: nil)
            } else if let server = self.core.server {
                self.upstream?.write(AddressedEnvelope(remoteAddress: server, data: datagram.bytes), promise: nil)
            }
        }
        self.core.front?.flush()
        self.upstream?.flush()
    }
}
