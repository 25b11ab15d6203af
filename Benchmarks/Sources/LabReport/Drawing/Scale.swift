// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// How values become places in a picture.
struct Scale: Sendable {
    enum Kind { case linear, logarithmic }

    let kind: Kind
    let low: Double
    let high: Double
    /// Where `low` and `high` are in the picture.
    let from: Double
    let to: Double

    /// From zero to a nice end above all values.
    static func linear(_ values: [Double], from: Double, to: Double, ticks: Int = 5) -> Scale {
        let usable = values.filter { $0.isFinite && abs($0) < 1e15 }
        let least = min(0, usable.min() ?? 0)
        let greatest = max(0, usable.max() ?? 0)
        let most = greatest > least ? greatest : least + 1
        let step = Self.niceStep((most - least) / Double(max(1, ticks)))
        let low = (least / step).rounded(.down) * step
        let high = max(low + step, (most / step - 1e-9).rounded(.up) * step)
        return Scale(kind: .linear, low: low, high: high, from: from, to: to)
    }

    /// Around all positive values, with whole decades or 1-2-5 steps at the ends.
    static func logarithmic(_ values: [Double], from: Double, to: Double) -> Scale {
        let usable = values.filter { $0 > 1e-9 && $0 < 1e15 }
        let (least, most) = (usable.min() ?? 1, usable.max() ?? 10)
        let low = Self.oneTwoFive(least, .down)
        return Scale(kind: .logarithmic, low: low, high: max(low * 2, Self.oneTwoFive(most, .up)), from: from, to: to)
    }

    /// Logarithmic where the values are so far apart that the small ones could not be seen otherwise.
    static func fitting(_ values: [Double], from: Double, to: Double, ticks: Int = 5) -> Scale {
        let positive = values.filter { $0 > 0 && $0.isFinite }
        let isWide = (positive.max() ?? 1) / (positive.min() ?? 1) > 25
        return isWide && positive.count == values.count
            ? .logarithmic(values, from: from, to: to) : .linear(values, from: from, to: to, ticks: ticks)
    }

    /// Values beyond the ends are at the ends.
    func place(_ value: Double) -> Double {
        guard value.isFinite else { return value > 0 ? self.to : self.from }
        let part: Double
        switch self.kind {
        case .linear: part = (value - self.low) / (self.high - self.low)
        case .logarithmic: part = log(max(value, self.low) / self.low) / log(self.high / self.low)
        }
        return self.from + min(max(part, 0), 1) * (self.to - self.from)
    }

    func ticks(_ count: Int = 5) -> [Double] {
        switch self.kind {
        case .linear:
            let step = Self.niceStep((self.high - self.low) / Double(max(1, count)))
            let steps = min(50, Int(((self.high - self.low) / step + 1e-9).rounded(.down)))
            return (0...max(0, steps)).map { self.low + Double($0) * step }
        case .logarithmic:
            return self.logarithmicTicks(count)
        }
    }

    private func logarithmicTicks(_ count: Int) -> [Double] {
        let decades = log10(self.high / self.low)
        let factors: [Double] = decades > Double(count) ? [1] : decades > Double(count) / 2.5 ? [1, 3] : [1, 2, 5]
        let first = Int(log10(self.low).rounded(.down))
        return (first...(first + Int(decades) + 2)).flatMap { exponent in factors.map { $0 * pow(10, Double(exponent)) }
        }
        .filter { $0 >= self.low * 0.999 && $0 <= self.high * 1.001 }
    }

    /// All with as many decimals as the finest needs.
    func labels(_ ticks: [Double]) -> [String] {
        guard self.kind == .linear, ticks.count > 1 else { return ticks.map(significant) }
        let step = abs(ticks[1] - ticks[0])
        let decimals =
            (0...6).first { decimals in
                let scaled = step * pow(10, Double(decimals))
                return abs(scaled - scaled.rounded()) < 1e-6 * max(1, scaled)
            } ?? 6
        return ticks.map { tick in
            abs(tick) >= 1e6 ? significant(tick) : fixed(tick, decimals).replacing("-", with: "−")
        }
    }

    private static func niceStep(_ rough: Double) -> Double {
        guard rough > 0, rough.isFinite else { return 1 }
        let power = pow(10, log10(rough).rounded(.down))
        let factor = [1, 2, 2.5, 5, 10].first { $0 * power >= rough * 0.999 } ?? 10
        return factor * power
    }

    private static func oneTwoFive(_ value: Double, _ rule: FloatingPointRoundingRule) -> Double {
        let power = pow(10, log10(value).rounded(.down))
        let candidates = [1, 2, 5, 10].map { $0 * power }
        return rule == .down
            ? candidates.last { $0 <= value * 1.001 } ?? power : candidates.first { $0 >= value * 0.999 } ?? power * 10
    }
}
