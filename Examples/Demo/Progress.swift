// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation

/// What the demo says while it runs: one line that grows on a terminal, a line per tenth elsewhere.
final class Progress {
    private let total: Int
    private let started = ContinuousClock.now
    private let isTerminal = isatty(STDOUT_FILENO) == 1
    private var shown = -1

    init(total: Int) {
        self.total = total
    }

    func say(_ text: String) {
        let time = String(format: "%6.2f s", self.started.duration(to: .now).seconds)
        print("\(self.isTerminal ? "\r\u{1B}[K" : "")\(time)  \(text)")
        self.flush()
        self.shown = -1
    }

    func show(_ acknowledged: [Int], _ received: [Int]) {
        let done = acknowledged.reduce(0, +)
        let step = done * (self.isTerminal ? 100 : 10) / max(self.total, 1)
        guard step != self.shown else { return }
        self.shown = step
        let filled = done * 30 / max(self.total, 1)
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 30 - filled)
        let text = "[\(bar)] \(done) of \(self.total) acknowledged, \(received.reduce(0, +)) received"
        if self.isTerminal {
            print("\r\u{1B}[K\(text)", terminator: "")
        } else {
            print("          \(text)")
        }
        self.flush()
    }

    private func flush() {
        // A pipe is block-buffered; progress is worth nothing late.
        fflush(nil)
    }
}

extension Duration {
    var seconds: Double {
        Double(self.components.seconds) + Double(self.components.attoseconds) / 1e18
    }
}
