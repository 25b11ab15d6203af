// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import LabLink
import LabReport
import Testing

@testable import tern_lab

@Suite("Scenarios")
struct ScenarioTests {
    @Test("Names are unique, and every profile has some")
    func names() {
        #expect(Set(Scenario.all.map(\.name)).count == Scenario.all.count)
        for name in LabProfile.Name.allCases {
            #expect(Scenario.all.contains { $0.profiles.contains(name) }, "nothing runs in \(name)")
        }
    }

    @Test("A scenario is consistent", arguments: Scenario.all.map(\.name))
    func consistency(name: String) throws {
        let scenario = try #require(Scenario.all.first { $0.name == name })
        let contenders = scenario.contenders.map(\.name)
        let metrics = scenario.metrics.map(\.key)
        #expect(Set(contenders).count == contenders.count)
        #expect(Set(metrics).count == metrics.count)
        #expect(contenders.count > 1, "there is nothing to compare")
        #expect(!scenario.metrics.filter(\.isMain).isEmpty)
        for expectation in scenario.expectations {
            #expect(metrics.contains(expectation.metric))
            #expect(contenders.contains(expectation.first))
            if let second = expectation.second { #expect(contenders.contains(second)) }
            #expect(expectation.relation == .value || expectation.second != nil)
            #expect(expectation.atMost != nil || expectation.atLeast != nil)
        }
    }

    @Test("A script keeps to its network and to its time", arguments: Scenario.all.map(\.name))
    func scripts(name: String) throws {
        let scenario = try #require(Scenario.all.first { $0.name == name })
        for profile in LabProfile.Name.allCases.map(LabProfile.named) {
            let script = scenario.script(profile)
            guard !script.isEmpty else { continue }
            let conditions = try #require(scenario.ground.conditions, "only an emulated network has a script")
            #expect(script.allSatisfy { conditions.accesses.indices.contains($0.access) })
            #expect(script.map(\.at) == script.map(\.at).sorted())
            guard case .tern(_, let work) = scenario.contenders[0].play, case .messages(let messages) = work(profile)
            else { continue }
            let last = try #require(script.last)
            #expect(last.at < messages.seconds, "in \(profile.name) the script goes on when the messages are over")
        }
    }

    @Test("The conditions survive being written and read", arguments: Scenario.all.map(\.name))
    func coding(name: String) throws {
        let scenario = try #require(Scenario.all.first { $0.name == name })
        guard let conditions = scenario.ground.conditions else { return }
        let data = try JSONEncoder().encode(conditions)
        let decoded = try JSONDecoder().decode(NetworkConditions.self, from: data)
        #expect(decoded == conditions)
    }

    @Test("The documentation has the matrix")
    func documentation() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "Docs/BENCHMARKS.md"), encoding: .utf8)
        #expect(
            text.contains(Scenario.markdown), "\"tern-lab list --markdown\" prints what belongs into Docs/BENCHMARKS.md"
        )
    }
}
