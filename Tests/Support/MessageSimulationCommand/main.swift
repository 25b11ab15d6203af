// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import MessageSimulationSupport

// usage: tern-message-simulation FIRST COUNT [model|machines] [trace]: runs schedules, prints what goes wrong, and ends with 1 at the
// first seed that fails. Without a kind of server, half of the schedules have one, and half the other.
let words = CommandLine.arguments.dropFirst()
let arguments = words.compactMap { UInt64($0) }
let kind = words.compactMap { MessageSimulation.Kind(rawValue: $0) }.first
let traces = words.last == "trace"
guard arguments.count == 2 else {
    print("usage: tern-message-simulation FIRST COUNT [model|machines] [trace]")
    exit(2)
}
for seed in arguments[0]..<arguments[0] + arguments[1] {
    let kind = kind ?? MessageSimulation.Kind(seed: seed)
    let failures = MessageSimulation.run(seed: seed, kind, trace: traces ? { print($0) } : nil)
    guard failures.isEmpty else {
        print("seed \(seed) \(kind.rawValue):\n" + failures.joined(separator: "\n"))
        exit(1)
    }
}
print("\(arguments[1]) schedules are well")
