// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernQUICCore

/// The event loops that share a listener's port, and how a datagram finds the one that its connection lives on.
///
/// The kernel spreads datagrams by their addresses, so a client whose address changes arrives at another loop. Every
/// connection ID of ours therefore says where it belongs: two bytes for the node, one for the loop. The connection IDs
/// that clients choose for their first packets say nothing; those are written down until the handshake is done.
final class QUICServerLoops: Sendable {
    let node: UInt16
    let mailboxes: [QUICTrainMailbox]
    private let handshakes = Mutex<[QUICConnectionID: UInt8]>([:])

    /// - Parameter count: 1 to 256.
    init(node: UInt16, eventLoops: [any EventLoop]) {
        self.node = node
        self.mailboxes = eventLoops.map(QUICTrainMailbox.init(eventLoop:))
    }

    var count: Int { self.mailboxes.count }

    /// The first bytes of the connection IDs of a loop.
    func connectionIDPrefix(of loop: UInt8) -> [UInt8] {
        [UInt8(self.node >> 8), UInt8(truncatingIfNeeded: self.node), loop]
    }

    /// Whether this node could have issued the connection ID.
    func isOurs(_ id: QUICConnectionID) -> Bool {
        id.count == QUICConnectionID.serverLength && UInt16(id[0]) << 8 | UInt16(id[1]) == self.node
    }

    /// The loop that issued a connection ID, if one of ours did.
    func loop(of id: QUICConnectionID) -> UInt8? {
        self.isOurs(id) && Int(id[2]) < self.count ? id[2] : nil
    }

    /// The same for the bytes after the first of a short header.
    @inline(__always)
    func loop(ofShortHeader datagram: UnsafeRawBufferPointer) -> UInt8? {
        guard datagram.count > QUICConnectionID.serverLength, Int(datagram[3]) < self.count,
            UInt16(datagram[1]) << 8 | UInt16(datagram[2]) == self.node
        else { return nil }
        return datagram[3]
    }

    // MARK: Handshakes

    /// The loop that answers the first packets to a connection ID that a client chose.
    func handshakeLoop(of id: QUICConnectionID) -> UInt8? {
        guard self.count > 1 else { return nil }
        return self.handshakes.withLock { $0[id] }
    }

    /// Makes `loop` the one that answers them, unless another one does already.
    ///
    /// - Returns: the loop that does.
    func claimHandshake(_ id: QUICConnectionID, for loop: UInt8) -> UInt8 {
        guard self.count > 1 else { return loop }
        return self.handshakes.withLock { handshakes in
            if let owner = handshakes[id] { return owner }
            handshakes[id] = loop
            return loop
        }
    }

    func releaseHandshake(_ id: QUICConnectionID, of loop: UInt8) {
        guard self.count > 1 else { return }
        self.handshakes.withLock { handshakes in
            if handshakes[id] == loop { handshakes[id] = nil }
        }
    }

    /// Handshakes that are written down.
    var handshakeCount: Int { self.handshakes.withLock { $0.count } }
}

/// Datagrams of one path that came to the wrong loop; their bytes were copied once.
struct HandedTrain: Sendable {
    let bytes: ByteBuffer
    let segmentSize: Int
    let path: QUICPath
    let ecn: ECN

    /// What it is charged with: a datagram of a few bytes costs two allocations.
    var cost: Int { Self.cost(of: self.bytes.readableBytes) }

    static func cost(of byteCount: Int) -> Int { byteCount + 512 }
}

/// What other loops hand to one loop: bounded, and one wake-up for all that waits.
final class QUICTrainMailbox: Sendable {
    private struct State {
        var trains: [HandedTrain] = []
        /// What they cost.
        var cost = 0
        var isScheduled = false
        /// Called on the event loop when trains wait; `nil` when nobody takes them.
        var onTrains: (@Sendable () -> Void)?
    }

    private let eventLoop: any EventLoop
    private let state = Mutex(State())

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// From now on trains are taken.
    ///
    /// - Parameter onTrains: called on the event loop.
    func open(onTrains: @escaping @Sendable () -> Void) {
        self.state.withLock { $0.onTrains = onTrains }
    }

    /// Drops what waits and what comes.
    func close() {
        self.state.withLock { state in
            state.onTrains = nil
            state.trains = []
            state.cost = 0
        }
    }

    /// Hands over trains, from any thread.
    ///
    /// - Returns: how many of them were dropped, because the loop does not keep up or is closed.
    func post(_ trains: [HandedTrain]) -> Int {
        let (dropped, onTrains) = self.state.withLock { state -> (Int, (@Sendable () -> Void)?) in
            guard let onTrains = state.onTrains else { return (trains.count, nil) }
            var dropped = 0
            for train in trains {
                guard state.cost + train.cost <= Self.maximumCost else {
                    dropped += 1
                    continue
                }
                state.cost += train.cost
                state.trains.append(train)
            }
            guard !state.isScheduled, !state.trains.isEmpty else { return (dropped, nil) }
            state.isScheduled = true
            return (dropped, onTrains)
        }
        if let onTrains { self.eventLoop.execute(onTrains) }
        return dropped
    }

    /// Takes out all that waits.
    func take() -> [HandedTrain] {
        self.state.withLock { state in
            state.isScheduled = false
            state.cost = 0
            defer { state.trains = [] }
            return state.trains
        }
    }

    /// About what the kernel keeps for a socket; after it, it drops too.
    static let maximumCost = 4 << 20
}
