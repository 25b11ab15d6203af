// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import TernTesting
import Testing

/// Inputs that are kept as text, so that a reader sees what changed.
enum Corpus {
    /// The inputs of `Corpus/NAME.hex`: each line is a name and bytes in hexadecimal; `#` begins a comment.
    static func load(_ name: String, file: String = #filePath) throws -> [[UInt8]] {
        let folder = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("Corpus")
        let text = try String(contentsOf: folder.appendingPathComponent("\(name).hex"), encoding: .utf8)
        var inputs: [[UInt8]] = []
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let digits = Array(line.split(separator: " ").last ?? "")
            var bytes: [UInt8] = []
            for index in stride(from: 0, to: digits.count - 1, by: 2) {
                bytes.append(try #require(UInt8(String(digits[index...(index + 1)]), radix: 16)))
            }
            inputs.append(bytes)
        }
        return inputs
    }

    static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { String(format: "%02x", $0) }.joined()
    }
}

/// Changes inputs; the same changes for the same seed.
struct Mutator {
    var random: SeededRandom

    init(seed: UInt64) {
        self.random = SeededRandom(seed: seed)
    }

    func below(_ bound: Int, _ random: inout SeededRandom) -> Int { Int(random.next() % UInt64(max(bound, 1))) }

    mutating func pick(_ inputs: [[UInt8]]) -> [UInt8] {
        inputs.isEmpty ? [] : inputs[self.below(inputs.count, &self.random)]
    }

    /// None to a handful of changes.
    mutating func mutate(_ input: [UInt8], with others: [[UInt8]] = []) -> [UInt8] {
        var bytes = input
        for _ in 0..<self.below(6, &self.random) { self.change(&bytes, others) }
        return bytes
    }

    private static let telling: [UInt8] = [0x00, 0x01, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xff]

    private mutating func change(_ bytes: inout [UInt8], _ others: [[UInt8]]) {
        let at = self.below(bytes.count, &self.random)
        let count = 1 + self.below(8, &self.random)
        switch self.random.next() % 9 {
        case 0 where !bytes.isEmpty: bytes[at] ^= 1 << UInt8(self.random.next() % 8)
        case 1 where !bytes.isEmpty: bytes[at] = UInt8(truncatingIfNeeded: self.random.next())
        case 2 where !bytes.isEmpty: bytes[at] = Self.telling[self.below(Self.telling.count, &self.random)]
        case 3: bytes.insert(contentsOf: (0..<count).map { _ in UInt8(truncatingIfNeeded: self.random.next()) }, at: at)
        case 4: bytes.removeSubrange(at..<min(at + count, bytes.count))
        case 5: bytes.insert(contentsOf: bytes[at..<min(at + 4 * count, bytes.count)], at: at)
        case 6: bytes.removeLast(bytes.count - at)
        case 7:
            // The largest and the shortest way to write a number (RFC 9000, section 16).
            bytes.replaceSubrange(at..<min(at + 1, bytes.count), with: Array(repeating: 0xff, count: 8))
        default:
            let other = self.pick(others)
            guard !other.isEmpty else { return }
            let start = self.below(other.count, &self.random)
            bytes.replaceSubrange(at..<bytes.count, with: other[start...])
        }
    }
}

/// How long to look.
enum Effort {
    private static let seconds = ProcessInfo.processInfo.environment["TERN_FUZZ_SECONDS"].flatMap { Double($0) }
    static let seed = ProcessInfo.processInfo.environment["TERN_FUZZ_SEED"].flatMap { UInt64($0) } ?? 1

    /// Calls `body` with mutators of consecutive seeds: `standard` of them, or as many as `TERN_FUZZ_SECONDS` allow.
    static func spend(_ standard: Int, _ body: (inout Mutator, UInt64) throws -> Void) rethrows {
        let end = self.seconds.map { Date().addingTimeInterval($0) }
        var seed = self.seed
        while end.map({ Date() < $0 }) ?? (seed < self.seed + UInt64(standard)) {
            var mutator = Mutator(seed: seed)
            try body(&mutator, seed)
            seed += 1
        }
    }
}
