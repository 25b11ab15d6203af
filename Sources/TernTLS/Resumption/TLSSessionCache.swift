// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import Synchronization

/// The session tickets that a client keeps for later connections (RFC 8446, section 4.6.1), in memory.
///
/// A ticket resumes only a connection to the same server name and port, over the same carrier, with the same application
/// protocols, trust and own identity as the one that brought it; each is used once, so that an observer cannot link connections
/// (RFC 8446, appendix C.4). Any thread.
public final class TLSSessionCache: Sendable {
    /// What must be equal for a ticket to be used.
    struct Key: Hashable {
        let serverName: ServerName
        let port: Int
        let flavour: TLSFlavour
        let applicationProtocols: [String]
        let trust: TLSTrust
        /// SHA-256 of our own certificate, if we have one.
        let identity: [UInt8]?
    }

    /// When the server proved last that it has the private key of its certificate, and while that certificate is valid.
    struct Proof {
        /// Seconds since 1970.
        let time: Int
        /// `nil` where the trust does not look at validity.
        let validity: ClosedRange<Int>?

        /// - Parameters:
        ///   - now: seconds since 1970.
        ///   - interval: seconds for which a proof is good.
        func holds(at now: Int, for interval: Int) -> Bool {
            // A clock that was set back by more than a correction makes no proof younger.
            (-Self.clockCorrection...interval).contains(now - self.time) && self.validity?.contains(now) ?? true
        }

        private static let clockCorrection = 60
    }

    struct Entry {
        /// As GnuTLS packs it.
        let session: [UInt8]
        /// What the carrier remembers beside it, such as the server's QUIC transport parameters.
        let carrierState: [UInt8]
        /// From the full handshake at the beginning of the chain of tickets that ends in this one.
        let proof: Proof
        /// Bytes that may be sent early, as the ticket says.
        var earlyDataLimit = 0
        /// What was agreed on when the ticket was made.
        var applicationProtocol: String?
    }

    fileprivate struct State {
        var entries: [Key: Deque<Entry>] = [:]
        /// The order of the latest use, oldest first.
        var order: Deque<Key> = []
    }

    private let capacity: Int
    private let state = Mutex(State())

    /// How many tickets of one server are kept: for as many connections at once.
    private static let ticketsPerServer = 4

    /// - Parameter servers: of how many servers tickets are kept; the one that was used longest ago gives way.
    public init(servers: Int = 256) {
        self.capacity = max(servers, 1)
    }

    /// How many tickets are kept.
    public var count: Int {
        self.state.withLock { $0.entries.values.reduce(0) { $0 + $1.count } }
    }

    /// Forgets every ticket.
    public func removeAll() {
        self.state.withLock { $0 = State() }
    }

    /// The newest ticket for `key` that `isUsable`, which is gone afterwards, as are newer ones that are not.
    func take(_ key: Key, where isUsable: (Entry) -> Bool) -> Entry? {
        self.state.withLock { state -> Entry? in
            while let entry = state.entries[key]?.popLast() {
                guard isUsable(entry) else { continue }
                state.touch(key)
                return entry
            }
            return nil
        }
    }

    /// For tests: damages what is kept.
    package func replaceAll(
        _ change: (_ session: [UInt8], _ carrierState: [UInt8]) -> (session: [UInt8], carrierState: [UInt8])
    ) {
        self.state.withLock { state in
            for key in state.order {
                state.entries[key] = Deque(
                    state.entries[key, default: []].map {
                        let changed = change($0.session, $0.carrierState)
                        return Entry(
                            session: changed.session, carrierState: changed.carrierState, proof: $0.proof,
                            earlyDataLimit: $0.earlyDataLimit, applicationProtocol: $0.applicationProtocol)
                    })
            }
        }
    }

    /// For tests: one of the tickets, to be used more than once.
    package struct Copy: Sendable {
        fileprivate let key: Key
        fileprivate let entry: Entry
    }

    package func copy() -> Copy? {
        self.state.withLock { state in
            guard let key = state.order.last, let entry = state.entries[key]?.last else { return nil }
            return Copy(key: key, entry: entry)
        }
    }

    package func replace(by copy: Copy) {
        self.removeAll()
        self.store(copy.entry, for: copy.key)
    }

    func store(_ entry: Entry, for key: Key) {
        self.state.withLock { state -> Void in
            state.touch(key)
            state.entries[key, default: []].append(entry)
            if state.entries[key, default: []].count > Self.ticketsPerServer { state.entries[key]?.removeFirst() }
            if state.order.count > self.capacity, let oldest = state.order.popFirst() { state.entries[oldest] = nil }
        }
    }
}

extension TLSSessionCache.State {
    fileprivate mutating func touch(_ key: TLSSessionCache.Key) {
        if self.order.last == key { return }
        self.order.removeAll { $0 == key }
        self.order.append(key)
    }
}
