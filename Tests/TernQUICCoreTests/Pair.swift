// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore
import TernTLS
import TernTransport

@testable import TernQUICCore

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        self.state = seed
    }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}

/// One end: its core, and everything it said.
final class End {
    var core: QUICConnectionCore?
    var events: [QUICEvent] = []
    var received: [StreamID: [UInt8]] = [:]
    var finished: Set<StreamID> = []
    var datagrams: [[UInt8]] = []
    var issued: [QUICConnectionID] = []
    /// Returns the credit at once.
    var consumes = true
    /// The most segments that one transmit had.
    var longestTrain = 0
    /// Called after each event; may act on the core.
    var onEvent: ((QUICEvent) -> Void)?

    func drain() {
        guard let core else { return }
        while let event = core.nextEvent() {
            switch event {
            case .streamReceived(let id, let bytes, let finished):
                self.received[id, default: []].append(contentsOf: bytes.readableBytesView)
                if finished { self.finished.insert(id) }
                if self.consumes { core.consumed(bytes.readableBytes, of: id) }
            case .datagramReceived(let bytes): self.datagrams.append(Array(bytes.readableBytesView))
            case .connectionIDIssued(let id): self.issued.append(id)
            default: self.events.append(event)
            }
            self.onEvent?(event)
        }
    }

    var closeReason: TransportError? {
        for case .closed(let reason) in self.events { return reason }
        return nil
    }

    var isEstablished: Bool {
        self.events.contains { if case .handshakeCompleted = $0 { true } else { false } }
    }
}

/// Two cores, the network between them and a clock that moves only when nothing else does.
final class Pair {
    struct Flight {
        var arrives: NIODeadline
        var toServer: Bool
        var bytes: [UInt8]
        var ecn: ECN
        /// As the sender sees it; `nil` for the first one.
        var path: QUICPath?
    }

    let client = End()
    let server = End()
    let clientPath: QUICPath
    /// As the server sees it: a NAT may change the remote address.
    var serverPath: QUICPath
    let endpoint: QUICEndpointCore
    /// Counts until the client's first packet comes.
    var serverConfiguration: QUICConfiguration
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    var delay = TimeAmount.milliseconds(5)
    var flights: [Flight] = []
    /// May drop (nil), change or delay a datagram.
    var network: ((Flight) -> Flight?)?
    var repliesToClient: [ByteBuffer] = []
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)
    private let makeServerSession: () throws -> TLSSession
    var datagramsSent = 0

    init(
        clientLimits: ConnectionLimits = ConnectionLimits(), serverLimits: ConnectionLimits = ConnectionLimits(),
        trustsServer: Bool = true, serverName: String = "localhost",
        clientProtocols: [String] = ["test/1"], serverProtocols: [String] = ["test/1"],
        addresses: (client: String, server: String) = ("192.0.2.1", "198.51.100.1"),
        replayable: [ReplayableStream] = [], clientSession: TLSSession? = nil,
        makeServerSession: (() throws -> TLSSession)? = nil, qlog: (client: QlogText, server: QlogText)? = nil,
        growsWindows: Bool = true,
        configure: (_ client: inout QUICConfiguration, _ server: inout QUICConfiguration) -> Void = { _, _ in }
    ) throws {
        self.clientPath = QUICPath(
            local: try SocketAddress(ipAddress: addresses.client, port: 40_000),
            remote: try SocketAddress(ipAddress: addresses.server, port: 4433))
        self.serverPath = QUICPath(local: self.clientPath.remote, remote: self.clientPath.local)
        let secret = QUICResetSecret(bytes: Array(repeating: 7, count: 32))
        let serverIDs = QUICConnectionIDSource(
            length: QUICConnectionID.serverLength, prefix: [0x40, 0x01, 0x02], resetSecret: secret)
        var serverConfiguration = QUICConfiguration(limits: serverLimits, connectionIDs: serverIDs)
        let largest = growsWindows ? 4 << 20 : 0
        serverConfiguration.maximumConnectionWindow = max(largest, serverLimits.connectionWindow)
        serverConfiguration.maximumStreamWindow = max(largest, serverLimits.streamWindow)
        if let qlog { serverConfiguration.makeQlogSink = { qlog.server } }
        self.endpoint = QUICEndpointCore(connectionIDs: serverIDs)
        self.makeServerSession = makeServerSession ?? { try Sessions.server(protocols: serverProtocols) }
        var configuration = QUICConfiguration(
            limits: clientLimits,
            connectionIDs: QUICConnectionIDSource(
                length: QUICConnectionID.clientLength, resetSecret: QUICResetSecret()))
        if let qlog { configuration.makeQlogSink = { qlog.client } }
        configure(&configuration, &serverConfiguration)
        self.serverConfiguration = serverConfiguration
        self.client.core = try QUICConnectionCore.client(
            configuration: configuration,
            tls: try clientSession
                ?? Sessions.client(trustsServer: trustsServer, serverName: serverName, protocols: clientProtocols),
            path: self.clientPath, replayable: replayable, now: self.now)
    }

    deinit {
        self.buffer.deallocate()
    }

    /// Runs until `done`, or until nothing is going to happen any more, or for `limit` of the pair's time.
    @discardableResult
    func run(for limit: TimeAmount = .seconds(60), until done: () -> Bool = { false }) throws -> Bool {
        let end = self.now + limit
        var rounds = 0
        while true {
            rounds += 1
            guard rounds < 1_000_000 else { throw TransportError(.misuse, message: "time stands still") }
            try self.exchange()
            if done() { return true }
            guard let next = self.nextInstant(), next <= end else {
                self.now = max(self.now, end)
                return done()
            }
            self.now = max(self.now, next)
            for core in [self.client.core, self.server.core].compactMap({ $0 }) {
                if let deadline = core.nextDeadline, deadline <= self.now { core.deadlineReached(now: self.now) }
            }
        }
    }

    func establish() throws {
        try self.run(until: { self.client.isEstablished && self.server.isEstablished })
    }

    private func nextInstant() -> NIODeadline? {
        let deadlines = [self.client.core?.nextDeadline, self.server.core?.nextDeadline]
        return (deadlines + [self.flights.map(\.arrives).min()]).compactMap { $0 }.min()
    }

    /// Delivers what is due and collects what that causes, until there is nothing left at this instant.
    private func exchange() throws {
        var moved = true
        while moved {
            moved = false
            self.client.drain()
            self.server.drain()
            if self.send(from: self.client, toServer: true) { moved = true }
            if self.send(from: self.server, toServer: false) { moved = true }
            self.client.drain()
            self.server.drain()
            let due = self.flights.filter { $0.arrives <= self.now }
            self.flights.removeAll { $0.arrives <= self.now }
            for flight in due {
                moved = true
                try self.deliver(flight)
            }
        }
    }

    private func send(from end: End, toServer: Bool) -> Bool {
        guard let core = end.core else { return false }
        var moved = false
        while let transmit = core.nextTransmit(into: self.buffer, now: self.now) {
            moved = true
            precondition(transmit.byteCount > 0 && transmit.byteCount <= 65_507 && transmit.segmentSize > 0)
            end.longestTrain = max(
                end.longestTrain, (transmit.byteCount + transmit.segmentSize - 1) / transmit.segmentSize)
            precondition(end.longestTrain <= 64)
            for start in stride(from: 0, to: transmit.byteCount, by: transmit.segmentSize) {
                let stop = min(start + transmit.segmentSize, transmit.byteCount)
                let flight = Flight(
                    arrives: self.now + self.delay, toServer: toServer, bytes: Array(self.buffer[start..<stop]),
                    ecn: transmit.ecn, path: transmit.path)
                self.datagramsSent += 1
                if let network {
                    if let changed = network(flight) { self.flights.append(changed) }
                } else {
                    self.flights.append(flight)
                }
            }
        }
        return moved
    }

    func deliver(_ flight: Flight) throws {
        try flight.bytes.withUnsafeBytes { bytes in
            guard flight.toServer else {
                let path = self.pathAtClient(of: flight)
                self.client.core?.receive(bytes, path: path, ecn: flight.ecn, now: self.now)
                return
            }
            let path = self.pathAtServer(of: flight)
            switch self.endpoint.classify(bytes) {
            case .existing(let id, let initial, _):
                if let core = self.server.core {
                    if core.connectionIDs.contains(id) {
                        core.receive(bytes, path: path, ecn: flight.ecn, now: self.now)
                    }
                } else if let initial {
                    let core = try QUICConnectionCore.server(
                        configuration: self.serverConfiguration, tls: try self.makeServerSession(), initial: initial,
                        path: self.serverPath, now: self.now)
                    self.server.core = core
                    core.receive(bytes, path: self.serverPath, ecn: flight.ecn, now: self.now)
                }
            case .versionNegotiation(let reply): self.repliesToClient.append(reply)
            case .drop: break
            }
        }
    }

    /// The NAT, if there is one, knows the client's first address only.
    private func pathAtServer(of flight: Flight) -> QUICPath {
        guard let path = flight.path, path.local != self.clientPath.local || path.remote != self.clientPath.remote
        else {
            return self.serverPath
        }
        let isFirst = path.local == self.clientPath.local
        return QUICPath(local: path.remote, remote: isFirst ? self.serverPath.remote : path.local)
    }

    private func pathAtClient(of flight: Flight) -> QUICPath {
        guard let path = flight.path else { return self.clientPath }
        let isFirst = path.remote == self.serverPath.remote
        return QUICPath(local: isFirst ? self.clientPath.local : path.remote, remote: path.local)
    }
}

/// Bytes that show where they belong.
func pattern(_ count: Int, seed: Int = 17) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ seed) % 251) }
}
