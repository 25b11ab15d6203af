// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport

/// How the figures came about, for readers of a report.
enum Method {
    static let brief =
        "Figures are medians of the rounds, with the interval that holds the true median with at least 85 % (sign test); "
        + "the warm-up does not count. A difference counts when it is at least 2 % and Mann and Whitney's exact test on the "
        + "rounds gives chance less than 5 %; that takes \(RankTest.leastRounds) rounds."

    static let sentences = [
        "The contenders of a scenario take turns, round after round, or share a round where they leave the processor idle, each on "
            + "a network of its own; so whatever disturbs the machine disturbs all of them. In a round all meet the same sequence "
            + "of chances. Where there is a warm-up, no figure counts it.",
        "A figure is the median of the rounds. Behind it, in brackets, are the ends of an interval that holds the true median "
            + "with a confidence of at least 85 %: order statistics of the rounds (the sign test's interval), which assume "
            + "nothing about how rounds are distributed. With fewer than \(MedianInterval.leastRounds) rounds the ends are "
            + "those of the rounds, and no verdict is given.",
        "One contender is said to be better than another where Mann and Whitney's exact two-sided test on the rounds "
            + "leaves chance less than 5 %, and the medians are at least 2 % apart. The test uses ranks, so one disturbed round "
            + "cannot decide it, and it counts all orders instead of assuming a distribution. It takes "
            + "\(RankTest.leastRounds) rounds on each side. Of a hundred comparisons without any difference "
            + "up to five would still be called one: look at the size too.",
        "An expectation is confirmed where the whole interval of the round-by-round ratios (or differences, or values) is within "
            + "the bound, refuted where all of it is outside, otherwise undecided.",
        "Percentiles of latencies are of all rounds' single measurements together (nearest rank); one that stands for less "
            + "than one measurement is left out.",
        "Whoever fails in more rounds than another is never called better, whatever it did in the rest.",
    ]
}

extension LatencyDistribution {
    static let shown: [(title: String, quantile: Double)] = [
        ("50 %", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("99.9 %", 0.999), ("slowest", 1),
    ]

    func text(at quantile: Double, mark: String = "") -> String {
        let value = quantile == 1 ? self.longestMilliseconds : self.milliseconds(at: quantile)
        return value.map { fixed($0, $0 < 10 ? 2 : 1) + mark } ?? "–"
    }
}

extension LabSample {
    var eventsInOrder: [LabEvent] {
        (self.events ?? []).filter(\.at.isFinite).sorted { $0.at < $1.at }.map { event in
            LabEvent(at: event.at, source: event.source, text: event.plainText)
        }
    }

    /// Those within the time that is shown; what happened before, such as the handshake, is in tables only.
    var eventsMeanwhile: [LabEvent] { self.eventsInOrder.filter { $0.at >= 0 } }
}

extension LabEvent {
    /// Without the code of its kind before the sentence that says the same.
    fileprivate var plainText: String {
        let text = self.text.withPlainAddresses
        guard let (_, sentence) = try? #/[a-z]+(?:-[a-z]+)+: (.+)/#.wholeMatch(in: text)?.output else { return text }
        return String(sentence)
    }
}

extension ExpectationResult {
    /// Such as "ratio 0.15, 0.12–0.19 round by round; at most 0.2", or why there is none.
    var measured: String {
        guard let interval = self.interval else { return self.reason ?? "" }
        let (low, high) = (significant(interval.low), significant(interval.high))
        let spread = low == high ? "" : ", round by round \(low)–\(high)"
        let text = "\(self.bound): \(significant(interval.median))\(spread)"
        return self.reason.map { "\(text); \($0)" } ?? text
    }
}
