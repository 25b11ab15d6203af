// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import Testing

@Suite struct ChildProcessTests {
    /// A program that inherits another's input keeps the other running when that input should end.
    @Test(.timeLimit(.minutes(5)))
    func programsStartedAtTheSameTimeHaveNothingOfEachOther() throws {
        let cat = try #require(ChildProcess.path(of: "cat"))
        let scratch = FileManager.default.temporaryDirectory.appending(path: "tern-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: scratch) }

        let (mayEnd, haveStarted, hasEnded) = (
            DispatchSemaphore(value: 0), DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)
        )
        Thread {
            // They live until the end, with all that they inherited.
            let others = (0..<200).map { _ in try? ChildProcess("other", cat, [], scratch: scratch) }
            haveStarted.signal()
            mayEnd.wait()
            withExtendedLifetime(others) {}
            hasEnded.signal()
        }.start()
        defer {
            mayEnd.signal()
            hasEnded.wait()
        }
        repeat {
            _ = try ChildProcess("one", cat, [], scratch: scratch).stop(.closingInput)
        } while haveStarted.wait(timeout: .now()) == .timedOut
    }
}
