// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import MicroComparison

/// Compares two directories of results, for Scripts/micro. Exit codes: 0; 3 when something became worse; 1 on failure.
@main
enum TernMicroCompare {
    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        do {
            guard let base = arguments.first, let change = arguments.last, arguments.count == 2 else {
                throw BenchmarkError("usage: tern-micro-compare BASE CHANGE, two directories of results")
            }
            let comparison = MicroComparison(
                base: try MicroResults(directory: base), change: try MicroResults(directory: change))
            print(comparison.text, terminator: "")
            exit(comparison.hasRegression ? 3 : 0)
        } catch {
            FileHandle.standardError.write(Data("micro: \(error)\n".utf8))
            exit(1)
        }
    }
}
