// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
package import NIOCore
package import TernQUICCore
package import TernTLS
package import TernTesting
package import TernTransport

/// A client and a server of QUIC on a simulated network, with a clock that moves only when nothing else does.
package final class SimulatedQUICPair {
    package let client: QUICConnectionCore
    package private(set) var server: QUICConnectionCore?
    package private(set) var clock = ManualClock()
    package var network: SimulatedNetwork
    package let endpoint: QUICEndpointCore
    /// Called when the server's connection came to be.
    package var onServer: ((QUICConnectionCore) -> Void)?
    /// Sees every datagram that is sent.
    package var onDatagram: ((SimulatedDatagram) -> Void)?
    /// What happens to the network, and when; sorted.
    package var changes: [(at: NIODeadline, change: NetworkChange)] = []
    /// Two ends without an application take nothing: this takes everything.
    package var applications: [SimulatedApplication] = []
    /// Datagrams given to each core, by role.
    package private(set) var handedOver: [ConnectionRole: (count: Int, bytes: Int)] = [:]
    package private(set) var handedOut: [ConnectionRole: (count: Int, bytes: Int)] = [:]
    /// Why the run cannot go on.
    package private(set) var breakdown: String?

    /// As a server's driver has it.
    private var rebinding = HandshakeRebinding()
    private let clientPath: QUICPath
    private let serverConfiguration: QUICConfiguration
    private let makeServerTLS: () throws -> TLSSession
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

    package init(
        seed: UInt64, conditions: NetworkConditions = NetworkConditions(),
        clientLimits: ConnectionLimits = ConnectionLimits(), serverLimits: ConnectionLimits = ConnectionLimits(),
        growsWindows: Bool = false, clientTLS: TLSSession? = nil, makeServerTLS: (() throws -> TLSSession)? = nil,
        replayable: [ReplayableStream] = []
    ) throws {
        self.makeServerTLS = makeServerTLS ?? SimulatedTLS.server
        self.clientPath = QUICPath(
            local: try SocketAddress(ipAddress: "192.0.2.1", port: 40_000),
            remote: try SocketAddress(ipAddress: "198.51.100.1", port: 4433))
        self.network = SimulatedNetwork(seed: seed, inside: self.clientPath.local, conditions: conditions)
        let secret = QUICResetSecret(bytes: Array(repeating: 7, count: 32))
        let serverIDs = QUICConnectionIDSource(length: QUICConnectionID.serverLength, resetSecret: secret)
        self.endpoint = QUICEndpointCore(connectionIDs: serverIDs, randomness: .seeded(seed &+ 1))
        self.serverConfiguration = Self.configuration(
            serverLimits, serverIDs, seed: seed &+ 2, growsWindows: growsWindows)
        let clientIDs = QUICConnectionIDSource(length: QUICConnectionID.clientLength, resetSecret: secret)
        self.client = try QUICConnectionCore.client(
            configuration: Self.configuration(clientLimits, clientIDs, seed: seed &+ 3, growsWindows: growsWindows),
            tls: try clientTLS ?? SimulatedTLS.client(), path: self.clientPath, replayable: replayable,
            now: self.clock.now)
    }

    deinit {
        self.buffer.deallocate()
    }

    private static func configuration(
        _ limits: ConnectionLimits, _ identifiers: QUICConnectionIDSource, seed: UInt64, growsWindows: Bool
    ) -> QUICConfiguration {
        var configuration = QUICConfiguration(limits: limits, connectionIDs: identifiers)
        configuration.randomness = .seeded(seed)
        if let folder = ProcessInfo.processInfo.environment["TERN_SIMULATION_QLOG"] {
            configuration.makeQlogSink = { QlogFile(path: "\(folder)/\(seed).qlog") }
        }
        if !growsWindows {
            configuration.maximumConnectionWindow = limits.connectionWindow
            configuration.maximumStreamWindow = limits.streamWindow
        }
        return configuration
    }

    package var now: NIODeadline { self.clock.now }

    /// Runs until `done`, or until nothing is going to happen any more, or for `limit` of the pair's time.
    @discardableResult
    package func run(for limit: TimeAmount, until done: () -> Bool = { false }) throws -> Bool {
        let end = self.now + limit
        var turnsAtOnce = 0
        while true {
            try self.settle()
            if done() { return true }
            guard self.breakdown == nil, let next = self.nextInstant, next <= end else {
                self.clock.advance(to: end)
                return done()
            }
            turnsAtOnce = next > self.now ? 0 : turnsAtOnce + 1
            if turnsAtOnce > 10_000 { self.breakdown = "10,000 turns in which no time passed" }
            self.clock.advance(to: next)
            self.timePassed()
        }
    }

    private var nextInstant: NIODeadline? {
        var instants = [self.client.nextDeadline, self.server?.nextDeadline, self.network.nextArrival]
        instants += self.applications.map(\.nextAction)
        instants.append(self.changes.first?.at)
        return instants.compactMap { $0 }.min()
    }

    private func timePassed() {
        while let change = self.changes.first, change.at <= self.now {
            self.changes.removeFirst()
            if change.change.waitsForHandshake, !self.client.isConfirmed, !self.client.isFinished {
                let later = self.now + .milliseconds(50)
                let index = self.changes.firstIndex { $0.at > later } ?? self.changes.endIndex
                self.changes.insert((later, change.change), at: index)
            } else {
                change.change.change(&self.network)
            }
        }
        for core in [self.client, self.server].compactMap({ $0 }) {
            if let deadline = core.nextDeadline, deadline <= self.now { core.deadlineReached(now: self.now) }
        }
        for application in self.applications {
            if let instant = application.nextAction, instant <= self.now { application.act(now: self.now) }
        }
    }

    /// Delivers what is due and sends what that causes, until there is nothing left at this instant.
    private func settle() throws {
        var moved = true
        var rounds = 0
        while moved {
            moved = false
            for application in self.applications where application.listen() { moved = true }
            if self.send(from: self.client) { moved = true }
            if let server, self.send(from: server) { moved = true }
            for datagram in self.network.arrivals(upTo: self.now) {
                moved = true
                try self.deliver(datagram)
            }
            rounds += 1
            guard rounds < 10_000 else {
                self.breakdown = "10,000 rounds in which no time passed"
                return
            }
        }
    }

    private func send(from core: QUICConnectionCore) -> Bool {
        var moved = false
        while let transmit = core.nextTransmit(into: self.buffer, now: self.now) {
            moved = true
            let path =
                core.role == .client ? transmit.path : self.rebinding.pathForSocket(transmit.path, first: core.path)
            for start in stride(from: 0, to: transmit.byteCount, by: max(transmit.segmentSize, 1)) {
                let stop = min(start + transmit.segmentSize, transmit.byteCount)
                let datagram = SimulatedDatagram(
                    source: path.local, destination: path.remote,
                    bytes: ByteBuffer(bytes: self.buffer[start..<stop]), ecn: transmit.ecn.rawValue)
                self.handedOut[core.role, default: (0, 0)].count += 1
                self.handedOut[core.role, default: (0, 0)].bytes += stop - start
                self.onDatagram?(datagram)
                self.network.send(datagram, now: self.now)
            }
        }
        return moved
    }

    /// Gives a datagram to whom it is addressed.
    package func deliver(_ datagram: SimulatedDatagram) throws {
        let path = QUICPath(local: datagram.destination, remote: datagram.source)
        let ecn = ECN(rawValue: datagram.ecn & 3) ?? .notECT
        try datagram.bytes.withUnsafeReadableBytes { bytes in
            guard datagram.destination != self.clientPath.local else {
                return self.handOver(bytes, to: self.client, path: path, ecn: ecn)
            }
            switch self.endpoint.classify(bytes) {
            case .existing(let id, let initial, _):
                if let server, server.connectionIDs.contains(id) {
                    let path = self.rebinding.pathForConnection(
                        path, first: server.path, isEstablished: server.isEstablished)
                    self.handOver(bytes, to: server, path: path, ecn: ecn)
                } else if let initial, self.server == nil {
                    try self.accept(initial, bytes, path: path, ecn: ecn)
                }
            case .versionNegotiation(let reply):
                let answer = SimulatedDatagram(source: path.local, destination: path.remote, bytes: reply)
                self.network.send(answer, now: self.now)
            case .drop: break
            }
        }
    }

    /// A connection counts once a packet could be decrypted: the header of a damaged one may name any connection ID.
    private func accept(
        _ initial: QUICInitial, _ bytes: UnsafeRawBufferPointer, path: QUICPath, ecn: ECN
    ) throws {
        let core = try QUICConnectionCore.server(
            configuration: self.serverConfiguration, tls: try self.makeServerTLS(), initial: initial, path: path,
            now: self.now)
        core.receive(bytes, path: path, ecn: ecn, now: self.now)
        guard core.hasHeardFromPeer, !core.isFinished else { return }
        self.handedOver[.server, default: (0, 0)].count += 1
        self.handedOver[.server, default: (0, 0)].bytes += bytes.count
        self.server = core
        self.onServer?(core)
    }

    private func handOver(_ bytes: UnsafeRawBufferPointer, to core: QUICConnectionCore, path: QUICPath, ecn: ECN) {
        self.handedOver[core.role, default: (0, 0)].count += 1
        self.handedOver[core.role, default: (0, 0)].bytes += bytes.count
        core.receive(bytes, path: path, ecn: ecn, now: self.now)
    }
}

/// For `TERN_SIMULATION_QLOG=FOLDER`: what each end did, to find out why a seed failed.
private final class QlogFile: QUICQlogSink {
    private let path: String
    private var text = Data()

    init(path: String) {
        self.path = path
    }

    func begin(_ connection: QUICConnectionID, role: ConnectionRole) {}
    func peerIsProven() {}

    func write(_ bytes: UnsafeRawBufferPointer) {
        self.text.append(contentsOf: bytes)
    }

    deinit {
        try? self.text.write(to: URL(fileURLWithPath: self.path))
    }
}
