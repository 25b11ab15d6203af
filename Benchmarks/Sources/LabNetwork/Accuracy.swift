// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import LabLink

/// How well an emulated network does on this machine, at this moment, what it is told.
package struct AccuracyFinding: Sendable, Equatable {
    /// Such as "round trip of 40 ms, median of 50".
    package var check: String
    package var unit: String
    package var expected: Double
    package var measured: Double
    /// How far off it may be, as a part of ``expected``.
    package var tolerance: Double

    package var isGood: Bool { abs(self.measured - self.expected) <= self.tolerance * self.expected }
}

extension EmulatedNetwork {
    /// Measures a round trip and a transfer whose times are known, over a network of its own. Takes between four and
    /// five seconds.
    ///
    /// - Throws: ``BenchmarkError`` when there can be no network, or when it carries nothing.
    package static func measureAccuracy() throws -> [AccuracyFinding] {
        let delay = DirectionConditions(delay: 0.02)
        let network = try EmulatedNetwork(NetworkConditions(AccessConditions(up: delay, down: delay)), seed: 1)
        defer { network.close() }
        var roundTrips = try network.measureRoundTrips(count: 50)
        roundTrips.sort()
        // Always there, and sends whatever the window allows: the bottleneck is never idle.
        try network.setTCPCongestionControl("reno")
        let rate = DirectionConditions(bitsPerSecond: 20e6, queueBytes: 1 << 20)
        try network.reset(NetworkConditions(AccessConditions(up: rate, down: rate)), seed: 1)
        let (expected, measured) = try network.measureTransfer(bytes: 5_000_000, bitsPerSecond: 20e6)
        return [
            AccuracyFinding(
                check: "round trip of 40 ms, median of 50", unit: "ms", expected: 40,
                measured: roundTrips[roundTrips.count / 2] * 1e3, tolerance: 0.02),
            AccuracyFinding(
                check: "round trip of 40 ms, 99th percentile of 50", unit: "ms", expected: 40,
                measured: roundTrips[roundTrips.count - 1] * 1e3, tolerance: 0.1),
            AccuracyFinding(
                check: "5 MB over TCP at 20 Mbit/s", unit: "s", expected: expected, measured: measured,
                tolerance: 0.02),
        ]
    }

    /// How many bits per second an emulated network without limits carries for one TCP connection on this machine, with the
    /// headers left out. What is measured near it is the machine's limit, not a network's. Takes less than a second on most
    /// machines.
    ///
    /// - Throws: ``BenchmarkError`` when there can be no network, or when it carries nothing.
    package static func measureCapacity() throws -> Double {
        let unlimited = AccessConditions(up: DirectionConditions(), down: DirectionConditions())
        let network = try EmulatedNetwork(NetworkConditions(unlimited), seed: 1)
        defer { network.close() }
        try network.setTCPCongestionControl("reno")
        let bytes = 100_000_000
        let (_, seconds) = try network.measureTransfer(bytes: bytes, bitsPerSecond: nil)
        return Double(bytes) * 8 / seconds
    }

    /// UDP there and back, one after the other, in seconds.
    package func measureRoundTrips(count: Int) throws -> [Double] {
        let server = try self.probe(.udp, atServer: true)
        let client = try self.probe(.udp, atServer: false)
        let (serverPort, clientPort) = (try server.port(), try client.port())
        try client.connect(to: self.serverAddress, port: serverPort)
        try server.connect(to: self.clientAddresses[0], port: clientPort)
        var bytes = [UInt8](repeating: 0x55, count: 64)
        return try (0..<count).map { _ in
            let start = Carrier.now
            let deadline = start + 3_000_000_000
            try bytes.withUnsafeMutableBytes { bytes in
                _ = try client.send(UnsafeRawBufferPointer(bytes))
                _ = try server.receive(into: bytes, before: deadline)
                _ = try server.send(UnsafeRawBufferPointer(bytes))
                _ = try client.receive(into: bytes, before: deadline)
            }
            return Double(Carrier.now - start) / 1e9
        }
    }

    /// Bytes over TCP from the server to the client: how long they should take from the first to the last, and how long
    /// they took.
    ///
    /// - Parameter bitsPerSecond: the rate of the way to the client; it should have no delay and a long queue, so that
    ///   the bottleneck is never idle.
    package func measureTransfer(bytes: Int, bitsPerSecond: Double?) throws -> (expected: Double, measured: Double) {
        let listener = try self.probe(.tcp, atServer: true)
        try listener.listen()
        let client = try self.probe(.tcp, atServer: false)
        if bitsPerSecond != nil { client.limitWindow(to: 1 << 17) }
        try client.connect(to: self.serverAddress, port: listener.port())
        let deadline = Carrier.now + 20_000_000_000
        let server = try listener.accept(before: deadline)
        let writer = server.descriptor
        let sender = Thread {
            let chunk = [UInt8](repeating: 0x55, count: 1 << 16)
            var left = bytes
            while left > 0 {
                let count = write(writer, chunk, min(left, chunk.count))
                guard count > 0 || errno == EINTR else { return }
                left -= max(count, 0)
            }
        }
        sender.start()
        var space = [UInt8](repeating: 0, count: 1 << 18)
        var (received, first, start) = (0, 0, UInt64(0))
        while received < bytes {
            let count = try space.withUnsafeMutableBytes { try client.receive(into: $0, before: deadline) }
            guard count > 0 else { throw BenchmarkError("the transfer ended after \(received) bytes") }
            if received == 0 { (first, start) = (count, Carrier.now) }
            received += count
        }
        let measured = Double(Carrier.now - start) / 1e9
        return (Self.secondsOnTheWire(received - first, bitsPerSecond), measured)
    }

    /// Each packet has an IP header of 20 bytes and a TCP header of 20 with 12 bytes of timestamps.
    private static func secondsOnTheWire(_ bytes: Int, _ bitsPerSecond: Double?) -> Double {
        guard let bitsPerSecond else { return 0 }
        let payload = 1_500 - 52
        let packets = (bytes + payload - 1) / payload
        return Double(bytes + packets * 52) * 8 / bitsPerSecond
    }

    private func probe(_ kind: ProbeSocket.Kind, atServer: Bool) throws -> ProbeSocket {
        // The descriptor goes from the thread of the namespace to this one.
        let end = atServer ? self.serverAddress : self.clientAddresses[0]
        let descriptor =
            try atServer
            ? self.atServer { try ProbeSocket.open(kind, at: end) }
            : self.atClient { try ProbeSocket.open(kind, at: end) }
        return ProbeSocket(descriptor)
    }
}
