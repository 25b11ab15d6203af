// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernQMuxCore
package import TernTesting
package import TernTransport

/// Two ends of QMux on a simulated byte stream, with a clock that moves only when nothing else does.
package final class SimulatedQMuxPair {
    package let client: QMuxConnectionCore
    package let server: QMuxConnectionCore
    package private(set) var clock = ManualClock()
    /// From the client to the server, and back.
    package var up: SimulatedPipe
    package var down: SimulatedPipe
    package var applications: [SimulatedApplication] = []
    package private(set) var breakdown: String?
    private var hasFinished: Set<ConnectionRole> = []

    package init(
        up: SimulatedPipe, down: SimulatedPipe, clientLimits: ConnectionLimits = ConnectionLimits(),
        serverLimits: ConnectionLimits = ConnectionLimits(), configuration: QMuxConfiguration = QMuxConfiguration()
    ) {
        self.up = up
        self.down = down
        self.client = QMuxConnectionCore(
            role: .client, limits: clientLimits, configuration: configuration, now: self.clock.now)
        self.server = QMuxConnectionCore(
            role: .server, limits: serverLimits, configuration: configuration, now: self.clock.now)
    }

    package var now: NIODeadline { self.clock.now }

    /// Runs until `done`, or until nothing is going to happen any more, or for `limit` of the pair's time.
    @discardableResult
    package func run(for limit: TimeAmount, until done: () -> Bool = { false }) -> Bool {
        let end = self.now + limit
        var turnsAtOnce = 0
        while true {
            self.settle()
            if done() { return true }
            guard self.breakdown == nil, let next = self.nextInstant, next <= end else {
                self.clock.advance(to: end)
                return done()
            }
            turnsAtOnce = next > self.now ? 0 : turnsAtOnce + 1
            if turnsAtOnce > 10_000 { self.breakdown = "10,000 turns in which no time passed" }
            self.clock.advance(to: next)
            for core in [self.client, self.server] {
                if let deadline = core.nextDeadline, deadline <= self.now { core.deadlineReached(now: self.now) }
            }
            for application in self.applications {
                if let instant = application.nextAction, instant <= self.now { application.act(now: self.now) }
            }
        }
    }

    private var nextInstant: NIODeadline? {
        var instants = [self.client.nextDeadline, self.server.nextDeadline, self.up.nextArrival, self.down.nextArrival]
        instants += self.applications.map(\.nextAction)
        // A full pipe is asked again when it has room.
        for pipe in [self.up, self.down] where pipe.room(at: self.now) < Self.smallestRoom {
            instants.append(max(pipe.roomAppears(for: Self.smallestRoom), self.now + .microseconds(1)))
        }
        return instants.compactMap { $0 }.min()
    }

    /// With less room a core is not asked for bytes.
    private static let smallestRoom = 512

    private func settle() {
        var moved = true
        var rounds = 0
        while moved {
            moved = false
            for application in self.applications where application.listen() { moved = true }
            if self.write(from: self.client, into: &self.up) { moved = true }
            if self.write(from: self.server, into: &self.down) { moved = true }
            for arrival in self.up.arrivals(upTo: self.now) {
                moved = true
                self.hand(arrival, to: self.server)
            }
            for arrival in self.down.arrivals(upTo: self.now) {
                moved = true
                self.hand(arrival, to: self.client)
            }
            rounds += 1
            guard rounds < 100_000 else {
                self.breakdown = "100,000 rounds in which no time passed"
                return
            }
        }
    }

    private func write(from core: QMuxConnectionCore, into pipe: inout SimulatedPipe) -> Bool {
        var moved = false
        while pipe.room(at: self.now) >= Self.smallestRoom,
            let bytes = core.nextBytes(limit: pipe.room(at: self.now), now: self.now)
        {
            moved = true
            pipe.write(bytes, now: self.now)
            if pipe.rate == nil { break }
        }
        if core.carrierDemand != .keepOpen, self.hasFinished.insert(core.role).inserted {
            moved = true
            pipe.finish(now: self.now)
        }
        return moved
    }

    private func hand(_ arrival: SimulatedPipe.Arrival, to core: QMuxConnectionCore) {
        switch arrival {
        case .bytes(let bytes): core.receive(bytes, now: self.now)
        case .end: core.peerFinished(now: self.now)
        case .broken:
            core.carrierLost(TransportError(.carrierLost, message: "reset", initiator: .peer), now: self.now)
        }
    }
}
