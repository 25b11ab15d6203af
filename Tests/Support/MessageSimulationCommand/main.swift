// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import MessageSimulationSupport

// usage: tern-message-simulation FIRST COUNT [trace]: runs schedules, prints what goes wrong, and ends with 1 at the first seed that fails.
let arguments = CommandLine.arguments.dropFirst().compactMap { UInt64($0) }
let traces = CommandLine.arguments.last == "trace"
guard arguments.count == 2 else {
    print("usage: tern-message-simulation FIRST COUNT [trace]")
    exit(2)
}
for seed in arguments[0]..<arguments[0] + arguments[1] {
    let failures = MessageSimulation.run(seed: seed, trace: traces ? { print($0) } : nil)
    guard failures.isEmpty else {
        print("seed \(seed):\n" + failures.joined(separator: "\n"))
        exit(1)
    }
}
print("\(arguments[1]) schedules are well")
