// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Says on the standard error what runs, how much is done and how long the rest will take. On a terminal one line is rewritten;
/// elsewhere every step is a line.
package final class StepProgress {
    package struct Step {
        package var title: String
        package var expectedSeconds: Double

        package init(title: String, expectedSeconds: Double) {
            self.title = title
            self.expectedSeconds = expectedSeconds
        }
    }

    private var rest: [Step]
    private var current: (step: Step, started: ContinuousClock.Instant)?
    /// What steps of a title really took.
    private var measured: [String: (seconds: Double, count: Int)] = [:]
    private var doneSeconds = 0.0
    private let isTerminal = isatty(2) == 1

    package init(_ steps: [Step]) {
        self.rest = steps
    }

    /// - Parameter note: such as the number of the round.
    package func begin(note: String) {
        guard !self.rest.isEmpty else { return }
        let step = self.rest.removeFirst()
        self.current = (step, .now)
        self.show("\(step.title) \(note)", isTick: false)
        self.note = note
    }

    /// What the running step says beside its title.
    package var note = ""

    package func tick() {
        guard let (step, _) = self.current else { return }
        self.show("\(step.title) \(self.note)", isTick: true)
    }

    package func end() {
        guard let (step, started) = self.current else { return }
        let seconds = (ContinuousClock.now - started).seconds
        let before = self.measured[step.title] ?? (0, 0)
        self.measured[step.title] = (before.seconds + seconds, before.count + 1)
        self.doneSeconds += seconds
        self.current = nil
        if self.rest.isEmpty { self.clear() }
    }

    /// Prints a line between the steps.
    package func say(_ text: String) {
        self.clear()
        Self.print(text + "\n")
    }

    private func show(_ text: String, isTick: Bool) {
        let running = self.current.map { (ContinuousClock.now - $0.started).seconds } ?? 0
        let thisStep = self.current.map { max(0, self.expected($0.step) - running) } ?? 0
        let left = self.rest.reduce(thisStep) { $0 + self.expected($1) }
        let done = self.doneSeconds + running
        let percent = Int((100 * done / max(0.001, done + left)).rounded(.down))
        let line = "\(String(format: "%3d", percent)) %  \(text)  about \(minutes(left)) left"
        if self.isTerminal {
            Self.print("\r\u{1b}[K\(line)")
        } else if !isTick {
            Self.print(line + "\n")
        }
    }

    private func expected(_ step: Step) -> Double {
        self.measured[step.title].map { $0.seconds / Double($0.count) } ?? step.expectedSeconds
    }

    private func clear() {
        if self.isTerminal { Self.print("\r\u{1b}[K") }
    }

    private static func print(_ text: String) {
        FileHandle.standardError.write(Data(text.utf8))
    }
}
