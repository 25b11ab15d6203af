// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQUICCore
internal import TernTLS
internal import TernTransport

/// A client and a server of QUIC, and memory in the place of the network: no loss, no delay, no sockets.
public final class QUICPair {
    private let client: QUICConnectionCore
    private let server: QUICConnectionCore
    private let clientPath: QUICPath
    private var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private var stream = StreamID(rawValue: 0)
    private let payload = ByteBuffer(repeating: 7, count: 1_024)
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)
    private var arrived = 0

    /// Two ends after their handshake (AES-128-GCM, as any others), and a stream.
    public init() throws {
        self.clientPath = QUICPath(
            local: try SocketAddress(ipAddress: "192.0.2.1", port: 40_000),
            remote: try SocketAddress(ipAddress: "198.51.100.1", port: 4433))
        let serverPath = QUICPath(local: self.clientPath.remote, remote: self.clientPath.local)
        let endpoint = QUICEndpointCore(connectionIDs: .micro(length: QUICConnectionID.serverLength))
        let identity = try TLSIdentity.selfSigned(for: ["localhost"])
        let trust = TLSTrust.certificateAuthorities(pem: identity.certificateAuthorityPEM)
        self.client = try QUICConnectionCore.client(
            configuration: QUICConfiguration(connectionIDs: .micro(length: QUICConnectionID.clientLength)),
            tls: try TLSClientContext(TLSClientConfiguration(trust: trust)).makeSession(
                for: .quic, applicationProtocols: ["micro/1"], serverName: "localhost"),
            path: self.clientPath, now: self.now)
        guard let first = self.client.nextTransmit(into: self.buffer, now: self.now) else {
            throw WorkloadError("the client has nothing to say")
        }
        let datagram = UnsafeRawBufferPointer(rebasing: self.buffer[..<first.segmentSize])
        guard case .existing(_, let initial?, _) = endpoint.classify(datagram) else {
            throw WorkloadError("the client's first packet is not one")
        }
        self.server = try QUICConnectionCore.server(
            configuration: QUICConfiguration(connectionIDs: endpoint.connectionIDs),
            tls: try TLSServerContext(TLSServerConfiguration(identity: identity.identity)).makeSession(
                for: .quic, applicationProtocols: ["micro/1"]),
            initial: initial, path: serverPath, now: self.now)
        self.server.receive(datagram, path: serverPath, ecn: .notECT, now: self.now)
        try self.settle()
        guard let stream = try self.client.openStream(.bidirectional) else { throw WorkloadError("no stream") }
        self.stream = stream
        // What only happens in the first packets is not measured: path MTU discovery, growing windows.
        _ = try self.transfer(2_000)
    }

    deinit {
        self.buffer.deallocate()
    }

    /// Writes 1 KiB at the client, carries its packet to the server, reads it there, and carries back what the server has to
    /// say; `count` times.
    ///
    /// - Returns: the bytes that arrived.
    public func transfer(_ count: Int) throws -> Int {
        self.arrived = 0
        for _ in 0..<count {
            self.pass(.microseconds(50))
            _ = try self.client.write(self.payload, to: self.stream, finish: false)
            self.move()
        }
        try self.settle(until: { self.arrived == count * self.payload.readableBytes })
        return self.arrived
    }

    /// Until `isDone`, or for a second of the pair's time.
    private func settle(until isDone: () -> Bool = { false }) throws {
        var turns = 0
        while !isDone(), turns < 1_000 {
            self.move()
            self.pass(.milliseconds(1))
            turns += 1
        }
        guard self.client.isEstablished, !self.client.isFinished, !self.server.isFinished else {
            throw WorkloadError("the connection is over")
        }
        guard isDone() || turns == 1_000, self.arrived.isMultiple(of: self.payload.readableBytes) else {
            throw WorkloadError("\(self.arrived) bytes arrived")
        }
    }

    private func pass(_ time: TimeAmount) {
        self.now = self.now + time
        for core in [self.client, self.server] {
            if let deadline = core.nextDeadline, deadline <= self.now { core.deadlineReached(now: self.now) }
        }
    }

    private func move() {
        var moved = true
        while moved {
            let up = self.carry(from: self.client, to: self.server)
            let down = self.carry(from: self.server, to: self.client)
            moved = up || down
        }
    }

    private func carry(from one: QUICConnectionCore, to other: QUICConnectionCore) -> Bool {
        var moved = false
        while let transmit = one.nextTransmit(into: self.buffer, now: self.now) {
            moved = true
            let path = QUICPath(local: transmit.path.remote, remote: transmit.path.local)
            for start in stride(from: 0, to: transmit.byteCount, by: max(transmit.segmentSize, 1)) {
                let stop = min(start + transmit.segmentSize, transmit.byteCount)
                other.receive(
                    UnsafeRawBufferPointer(rebasing: self.buffer[start..<stop]), path: path, ecn: transmit.ecn,
                    now: self.now)
            }
            self.hear(other)
        }
        self.hear(one)
        return moved
    }

    private func hear(_ core: QUICConnectionCore) {
        while let event = core.nextEvent() {
            guard case .streamReceived(let stream, let bytes, _) = event else { continue }
            self.arrived += bytes.readableBytes
            core.consumed(bytes.readableBytes, of: stream)
        }
    }
}

/// A server's first look at a datagram: which connection is it for?
public struct QUICRouting {
    private let endpoint: QUICEndpointCore
    private let datagrams: [[UInt8]]
    private var connections: [QUICConnectionID: Int] = [:]

    /// A server with 1,000 connections, and a packet for 64 of them.
    public init() {
        self.endpoint = QUICEndpointCore(connectionIDs: .micro(length: QUICConnectionID.serverLength))
        var datagrams: [[UInt8]] = []
        for number in 0..<1_000 {
            let id = self.endpoint.makeConnectionID()
            self.connections[id] = number
            guard number < 64 else { continue }
            // A short header: the fixed bit, the connection ID, and what is encrypted.
            datagrams.append([0x40] + (0..<id.count).map { id[$0] } + [UInt8](repeating: 9, count: 1_200))
        }
        self.datagrams = datagrams
    }

    /// Sorts `count` datagrams.
    ///
    /// - Returns: how many had a connection.
    public func route(_ count: Int) -> Int {
        var found = 0
        for index in 0..<count {
            self.datagrams[index & 63].withUnsafeBytes { datagram in
                guard case .existing(let id, _, _) = self.endpoint.classify(datagram), self.connections[id] != nil
                else {
                    return
                }
                found += 1
            }
        }
        return found
    }
}

extension QUICConnectionIDSource {
    fileprivate static func micro(length: Int) -> QUICConnectionIDSource {
        QUICConnectionIDSource(length: length, resetSecret: QUICResetSecret(bytes: Array(repeating: 7, count: 32)))
    }
}
