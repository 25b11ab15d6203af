// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

// A program that measures starts itself once more for each end, and tells each of them its role in its arguments. What an
// end has to say it prints as lines of JSON.

// MARK: For the program that measures

extension ChildProcess {
    /// What the program tells next.
    package func answer<Answer: Decodable>(
        within limit: Duration, whileWaiting: () -> Void = {}
    ) throws -> Answer {
        let line = try self.line(within: limit, whileWaiting: whileWaiting)
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(line.utf8))
        } catch {
            throw BenchmarkError("\(self.name) said what cannot be read: \(line.prefix(200))")
        }
    }
}

// MARK: For the program that plays a role

/// Prints a value as one line of JSON, for the program that started this one.
package func tell(_ value: some Encodable) throws {
    var line = try JSONEncoder().encode(value)
    line.append(UInt8(ascii: "\n"))
    try FileHandle.standardOutput.write(contentsOf: line)
}

/// For what serves: its input ends when it has served enough, or when the program that started it is gone.
package func untilInputEnds() async {
    await withCheckedContinuation { continuation in
        whenInputEnds { continuation.resume() }
    }
}

/// For what is done by itself: its input ends before that only when the program that started it is gone, and then nobody
/// waits for what it does.
package func exitWhenInputEnds() {
    whenInputEnds { _exit(1) }
}

private func whenInputEnds(_ body: @escaping @Sendable () -> Void) {
    Thread {
        var byte: UInt8 = 0
        while read(0, &byte, 1) > 0 {}
        body()
    }.start()
}
