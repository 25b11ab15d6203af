// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Synchronization
internal import TernTransport

/// What is remembered of QUIC at each server: whether it dies young there. A pure machine; it reads no clock.
///
/// In memory, and the same for every network that this machine may be in.
struct CarrierMemory {
    private struct Record {
        /// How often in a row.
        var deaths: Int
        var until: NIODeadline
    }

    private let policy: ConnectionPolicy
    private var records: [Endpoint: Record] = [:]
    /// Young connections over QUIC on which bytes go out and none come in, and since when.
    private var silent: [Endpoint: [ObjectIdentifier: NIODeadline]] = [:]

    /// Servers that are remembered; those whose time is over first give way.
    private static let capacity = 256

    init(_ policy: ConnectionPolicy) {
        self.policy = policy
    }

    /// A connection over QUIC ended because nothing came through any more.
    ///
    /// - Parameter age: since it was established.
    mutating func quicDied(at endpoint: Endpoint, age: TimeAmount, now: NIODeadline) {
        guard age < self.policy.youngAge else { return }
        let deaths = min((self.records[endpoint]?.deaths ?? 0) + 1, 32)
        var time = self.policy.distrust
        for _ in 1..<deaths where time < self.policy.longestDistrust { time = time * 2 }
        if self.records.count >= Self.capacity, self.records[endpoint] == nil {
            let oldest = self.records.min { $0.value.until < $1.value.until }
            if let oldest { self.records[oldest.key] = nil }
        }
        self.records[endpoint] = Record(deaths: deaths, until: now + min(time, self.policy.longestDistrust))
    }

    /// A connection over QUIC grew old.
    mutating func quicGrewOld(at endpoint: Endpoint) {
        self.records[endpoint] = nil
    }

    /// Whether nothing comes in on a young connection over QUIC at present. Who gives it up connects again at once, often before its end is
    /// told by ``quicDied(at:age:now:)``.
    ///
    /// - Parameter began: since when; `nil` when something comes in, or it is over.
    mutating func quicIsSilent(_ connection: ObjectIdentifier, at endpoint: Endpoint, since began: NIODeadline?) {
        self.silent[endpoint, default: [:]][connection] = began
        if self.silent[endpoint]?.isEmpty == true { self.silent[endpoint] = nil }
    }

    /// Whether TCP comes first. What died young once may try again when the time is over, and is distrusted for longer
    /// when it dies young again.
    func distrustsQUIC(at endpoint: Endpoint, now: NIODeadline) -> Bool {
        if let record = self.records[endpoint], now < record.until { return true }
        return self.silent[endpoint]?.values.contains { now - $0 >= Silence.telling } ?? false
    }
}

/// A ``CarrierMemory`` that the copies of a connector share.
final class CarrierMemoryBox: Sendable {
    let youngAge: TimeAmount
    private let memory: Mutex<CarrierMemory>

    init(_ policy: ConnectionPolicy) {
        self.youngAge = policy.youngAge
        self.memory = Mutex(CarrierMemory(policy))
    }

    func quicDied(at endpoint: Endpoint, age: TimeAmount, now: NIODeadline) {
        self.memory.withLock { $0.quicDied(at: endpoint, age: age, now: now) }
    }

    func quicIsSilent(_ connection: ObjectIdentifier, at endpoint: Endpoint, since began: NIODeadline?) {
        self.memory.withLock { $0.quicIsSilent(connection, at: endpoint, since: began) }
    }

    func quicGrewOld(at endpoint: Endpoint) {
        self.memory.withLock { $0.quicGrewOld(at: endpoint) }
    }

    func distrustsQUIC(at endpoint: Endpoint, now: NIODeadline) -> Bool {
        self.memory.withLock { $0.distrustsQUIC(at: endpoint, now: now) }
    }
}
