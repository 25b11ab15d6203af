// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation

/// What came of it, and whether it is what was promised.
struct Report {
    let exchange: Exchange
    let tern: TernCommand

    /// - Returns: whether every promise was kept.
    func printAll() throws -> Bool {
        print("")
        for direction in self.exchange.directions { self.summarize(direction) }
        self.printFaults()
        let checks = try self.checks()
        for (promise, kept) in checks { print("\(kept ? "PASS" : "FAIL")  \(promise)") }
        print(
            """

            The messages lie in \(self.tern.data.path) (SQLite), the texts as sent and as received and the logs
            of every process in \(self.tern.directory.path).
            """)
        let passed = checks.allSatisfy(\.kept)
        print(
            "demo: \(passed ? "PASS" : "FAIL") in \(self.text(self.exchange.started.duration(to: self.exchange.finished)))"
        )
        return passed
    }

    private func summarize(_ direction: Direction) {
        let connections = direction.connections.map { "          over \($0.carrier): \($0.reason)" }
        print(
            """
            \(direction.name): \(direction.text.lines.count) lines, \(direction.text.bytes.count) bytes
              acknowledged over QUIC \(direction.acknowledged(over: "quic")), over TLS \(direction.acknowledged(over: "tls"))
              sender connected \(direction.connections.count) times:
            \(connections.joined(separator: "\n"))

            """)
    }

    private func printFaults() {
        if let kill = self.exchange.kill {
            print("server killed at \(self.time(of: kill)), after \(kill.acknowledged) acks")
            if let ready = self.exchange.readyAgain {
                print("  ready again \(self.text(kill.time.duration(to: ready))) later")
            }
            self.printCost(of: kill, until: self.exchange.block?.time)
        }
        if let block = self.exchange.block {
            print("UDP blocked at \(self.time(of: block)), after \(block.acknowledged) acks")
            print("  \(self.exchange.relay.droppedDatagrams) datagrams were lost from then on")
            self.printCost(of: block, until: nil)
        }
        print("")
    }

    private func printCost(of fault: Exchange.Fault, until end: ContinuousClock.Instant?) {
        let silences = self.exchange.directions.map {
            "\($0.name) \(self.text($0.longestSilence(from: fault.time, to: end)))"
        }
        print("  longest time without an ack: \(silences.joined(separator: ", "))")
    }

    private func checks() throws -> [(promise: String, kept: Bool)] {
        var checks: [(promise: String, kept: Bool)] = []
        for direction in self.exchange.directions {
            let lines = direction.text.lines.count
            let sent = self.tern.directory.appending(path: "\(direction.sender).sent")
            let received = self.tern.directory.appending(path: "\(direction.sender).received")
            try direction.text.bytes.write(to: sent)
            try direction.received.write(to: received)
            let same = try Data(contentsOf: sent) == Data(contentsOf: received)
            checks.append(
                ("\(direction.name): received = sent, byte for byte (cmp \(sent.path) \(received.path))", same))
            checks.append(
                ("\(direction.name): every line was acknowledged once", direction.acknowledgements.count == lines))
            checks.append(
                (
                    "\(direction.name): both carriers carried",
                    direction.acknowledged(over: "quic") > 0 && direction.acknowledged(over: "tls") > 0
                ))
            let expected = (1...UInt64(2 * lines)).elementsEqual(direction.sequences)
            checks.append(
                ("\(direction.receiver) saw the sequences 1 to \(2 * lines) without gap or repetition", expected))
        }
        let lines = self.exchange.directions[0].text.lines.count
        let isInTheMiddle = [self.exchange.kill, self.exchange.block].allSatisfy { fault in
            fault.map { $0.acknowledged.allSatisfy { $0 > 0 && $0 < lines } } ?? false
        }
        checks.append(("both faults struck while both directions were under way", isInTheMiddle))
        checks.append(("the server drained and exited with 0 on SIGTERM", self.exchange.serverExitCode == 0))
        return checks
    }

    private func time(of fault: Exchange.Fault) -> String {
        self.text(self.exchange.started.duration(to: fault.time))
    }

    private func text(_ duration: Duration) -> String {
        String(format: "%.2f s", duration.seconds)
    }
}
