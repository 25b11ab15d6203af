// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// A count with its noun: "1 round", "3 rounds".
func counted(_ count: Int, _ noun: String) -> String {
    count == 1 ? "1 \(noun)" : "\(count) \(noun)s"
}

/// A number with about three significant digits, for ratios and axes.
func significant(_ number: Double) -> String {
    guard number.isFinite else { return number.isNaN ? "–" : number < 0 ? "−∞" : "∞" }
    let size = abs(number)
    let decimals = size >= 100 || size == 0 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3
    let text = size >= 1e6 ? String(format: "%.2e", number) : fixed(number, decimals)
    return trimmed(text)
}

/// Without zeros behind the decimal point, and with a minus that is as wide as a digit.
func trimmed(_ text: String) -> String {
    var text = Substring(text)
    if text.contains("."), !text.contains("e") {
        while text.last == "0" { text.removeLast() }
        if text.last == "." { text.removeLast() }
    }
    return text == "-0" ? "0" : String(text).replacing("-", with: "−")
}

extension ContenderRecord {
    /// In few plain words, for legends and tables: "QUIC, early", "nginx and curl".
    var label: String {
        let own = [
            ("Tern over QUIC", "QUIC"), ("Tern over TLS and TCP", "TCP"), ("Tern, its own choice", "Tern's choice"),
        ]
        for (start, label) in own where self.title.hasPrefix(start) { return label + self.title.dropFirst(start.count) }
        return String(self.title.prefix { $0 != "," })
    }
}

extension MetricRecord {
    func text(_ value: Double) -> String {
        guard value.isFinite else { return significant(value) }
        return abs(value) >= 1e9
            ? significant(value) : grouped(fixed(value, min(max(0, self.decimals), 6))).replacing("-", with: "−")
    }

    func text(_ interval: MedianInterval) -> String {
        self.text(interval.median) + (self.spreadText(interval).map { " \($0)" } ?? "")
    }

    /// The interval in brackets; `nil` where it is a single value.
    func spreadText(_ interval: MedianInterval) -> String? {
        let (low, high) = (self.text(interval.low), self.text(interval.high))
        return low == high ? nil : "(\(low)–\(high))"
    }

    func textWithUnit(_ value: Double) -> String {
        self.unit == "count" ? self.text(value) : "\(self.text(value))\u{a0}\(self.unit)"
    }

    /// Such as "p99, ms".
    var heading: String { self.unit == "count" ? self.title : "\(self.title), \(self.unit)" }
}

/// Thousands apart by a thin space, from five digits on.
private func grouped(_ text: String) -> String {
    let whole = text.prefix { $0 != "." }
    let digits = whole.filter(\.isNumber)
    guard digits.count >= 5 else { return text }
    var result = ""
    for (index, digit) in digits.enumerated() {
        if index > 0, (digits.count - index) % 3 == 0 { result.append("\u{202f}") }
        result.append(digit)
    }
    return (whole.hasPrefix("-") ? "-" : "") + result + text.dropFirst(whole.count)
}

/// A factor with as many decimals as matter: 1.45, 6.9, 147.
func factorText(_ factor: Double) -> String {
    fixed(factor, factor >= 9.95 ? 0 : factor >= 1.995 ? 1 : 2)
}

extension String {
    /// Without what a file's text could do to a terminal or to the reading order: control characters and marks of direction.
    var harmless: String {
        String(
            String.UnicodeScalarView(
                self.unicodeScalars.map { scalar in
                    switch scalar.value {
                    case 0x09, 0x0A, 0x0D: " "
                    case 0..<0x20, 0x7F..<0xA0, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF, 0xFFFE,
                        0xFFFF:
                        "\u{FFFD}"
                    default: scalar
                    }
                }))
    }

    /// Socket addresses as people write them, whatever a library put before them; of one that is not known yet the port.
    var withPlainAddresses: String {
        self.replacing(#/\[IPv[46]\](?:[^\s\/]*\/)?/#, with: "")
            .replacing(#/(?:0\.0\.0\.0|\[::\]|\b::):(\d+)/#) { "port \($0.output.1)" }
    }

    /// For the beginning of a sentence; what is no word, such as p99, stays.
    var capitalizedFirst: String {
        guard self.dropFirst().first?.isLetter == true, self.dropFirst().first?.isLowercase == true else { return self }
        return self.prefix(1).uppercased() + self.dropFirst()
    }

    func shortened(to length: Int) -> String {
        self.count <= length ? self : String(self.prefix(max(0, length - 1))) + "…"
    }
}
