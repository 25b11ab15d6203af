// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TestTimeLimits
import Testing

@testable import tern_command

@Suite(.untilItHangs)
struct ProgressWatchTests {
    private let start = ContinuousClock.now

    @Test("Time counts while something is outstanding, and begins anew with each step")
    func timeCounts() {
        let watch = ProgressWatch(timeout: .seconds(60))
        let later = self.start.advanced(by: .seconds(1_000))
        #expect(watch.deadline(at: later) == later.advanced(by: .seconds(60)), "nothing is to be done")
        watch.began(at: self.start)
        watch.began(at: self.start.advanced(by: .seconds(50)))
        #expect(watch.deadline(at: later) == self.start.advanced(by: .seconds(60)), "the older one counts")
        watch.stepped(at: self.start.advanced(by: .seconds(55)))
        #expect(watch.deadline(at: later) == self.start.advanced(by: .seconds(115)))
        watch.stepped(at: self.start.advanced(by: .seconds(56)))
        #expect(watch.deadline(at: later) == later.advanced(by: .seconds(60)))
    }

    @Test("Work without progress is ended")
    func workWithoutProgressEnds() async {
        let watch = ProgressWatch(timeout: .milliseconds(20))
        watch.began()
        let error = await #expect(throws: CommandError.self) { try await watch.run() }
        #expect(error?.message.contains("1 lines wait") == true)
    }
}
