// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQUICCore

/// Datagrams that arrived at the wrong loop, until this turn of the event loop ends.
struct HandoverOutbox {
    private var trains: [[HandedTrain]]
    private var costs: [Int]
    private var dropped = 0
    private var isEmpty = true

    init(loops: Int) {
        self.trains = Array(repeating: [], count: loops)
        self.costs = Array(repeating: 0, count: loops)
    }

    mutating func append(_ bytes: UnsafeRawBufferPointer, of train: ReceivedTrain, to loop: UInt8) {
        self.isEmpty = false
        let cost = HandedTrain.cost(of: bytes.count)
        // The mailbox would not take it.
        guard self.costs[Int(loop)] + cost <= QUICTrainMailbox.maximumCost else {
            self.dropped += 1
            return
        }
        self.costs[Int(loop)] += cost
        self.trains[Int(loop)].append(
            HandedTrain(
                bytes: ByteBuffer(bytes: bytes), segmentSize: train.segmentSize, path: train.path, ecn: train.ecn))
    }

    private static let keptRoom = 256

    /// - Returns: the trains that were dropped.
    mutating func flush(to mailboxes: [QUICTrainMailbox]) -> Int {
        guard !self.isEmpty else { return 0 }
        self.isEmpty = true
        defer { self.dropped = 0 }
        for loop in self.trains.indices where !self.trains[loop].isEmpty {
            self.dropped += mailboxes[loop].post(self.trains[loop])
            // Room for so many stays only if an ordinary turn may need it.
            self.trains[loop].removeAll(keepingCapacity: self.trains[loop].count <= Self.keptRoom)
            self.costs[loop] = 0
        }
        return self.dropped
    }
}

extension QUICServerEndpoint {
    /// Sorts a train: what belongs here is received, runs of what belongs to another loop are copied for it.
    func sort(_ train: ReceivedTrain) {
        var run: (start: Int, loop: UInt8)?
        var offset = 0
        train.forEachDatagram { datagram in
            let owner = self.otherLoop(for: datagram)
            if let current = run, current.loop != owner {
                self.handOver(train, from: current.start, to: offset, loop: current.loop)
                run = nil
            }
            if let owner {
                if run == nil { run = (offset, owner) }
            } else {
                self.receive(datagram, path: train.path, ecn: train.ecn, now: train.now)
            }
            offset += datagram.count
        }
        if let current = run { self.handOver(train, from: current.start, to: offset, loop: current.loop) }
    }

    private func handOver(_ train: ReceivedTrain, from start: Int, to end: Int, loop: UInt8) {
        self.counters.trainsHandedOver += 1
        self.outbox.append(UnsafeRawBufferPointer(rebasing: train.bytes[start..<end]), of: train, to: loop)
    }

    /// The loop that a datagram belongs to, if it is another one than this.
    private func otherLoop(for datagram: UnsafeRawBufferPointer) -> UInt8? {
        guard let first = datagram.first else { return nil }
        let owner = first & 0x80 == 0 ? self.loops.loop(ofShortHeader: datagram) : self.loop(ofLongHeader: datagram)
        return owner == self.loop ? nil : owner
    }

    /// A long header may carry a connection ID that the client chose, of any shape.
    private func loop(ofLongHeader datagram: UnsafeRawBufferPointer) -> UInt8? {
        // RFC 8999, section 5.1: a byte, the version, the length of the destination connection ID, and it.
        guard datagram.count >= 6, datagram.count >= 6 + Int(datagram[5]) else { return nil }
        let id = QUICConnectionID(
            copying: UnsafeRawBufferPointer(rebasing: datagram[6..<(6 + Int(datagram[5]))]))
        if self.hasRoute(id) { return self.loop }
        return self.loops.loop(of: id) ?? self.loops.handshakeLoop(of: id)
    }

    /// Receives what other loops handed over.
    func takeMail() {
        let now = NIODeadline.now()
        for train in self.loops.mailboxes[Int(self.loop)].take() {
            train.bytes.withUnsafeReadableBytes { bytes in
                ReceivedTrain(
                    bytes: bytes, segmentSize: train.segmentSize, path: train.path, ecn: train.ecn, now: now
                ).forEachDatagram { self.receive($0, path: train.path, ecn: train.ecn, now: now) }
            }
        }
        self.receiveTurnEnded()
    }
}
