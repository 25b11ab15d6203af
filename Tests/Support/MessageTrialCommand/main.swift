// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import MessageTrialSupport

let usage = """
    usage: tern-message-trial [--seconds N] [--seed N] [--count N] [--carrier quic|tls|both] [--quiet]

    Lets message clients and a server that is killed and drained run for so many seconds (20), by a plan from the seed (1), and
    says what everybody has in the end that they should not have. --count: so many seeds, one after the other. Ends with 1 at the
    first one that fails. It needs the programs of this package: swift build.
    """

signal(SIGPIPE, SIG_IGN)
var arguments = CommandLine.arguments.dropFirst()
if arguments.first == "serve" {
    try await NarrowServer(arguments: Array(arguments.dropFirst())).run()
    exit(0)
}
var options = TrialOptions(seed: 1, time: .seconds(20))
var count: UInt64 = 1
var isQuiet = false
while let option = arguments.popFirst() {
    let number = arguments.first.flatMap { UInt64($0) }
    switch (option, number) {
    case ("--seconds", let number?): options.time = .seconds(Int(clamping: number))
    case ("--seed", let number?): options.seed = number
    case ("--count", let number?): count = number
    case ("--quiet", _):
        isQuiet = true
        continue
    case ("--carrier", _):
        guard let carriers = arguments.first.flatMap(TrialOptions.Carriers.init(rawValue:)) else { fallthrough }
        options.carriers = carriers
    default:
        print(usage)
        exit(64)
    }
    arguments.removeFirst()
}
let tellsAll = !isQuiet
for seed in options.seed..<options.seed + count {
    options.seed = seed
    let outcome = try await MessageTrial.run(options) { if tellsAll { print($0) } }
    print("seed \(seed): \(outcome.summary)")
    if !outcome.failures.isEmpty {
        print(outcome.failures.joined(separator: "\n"))
        print("seed \(seed) failed; logs and data are in \(outcome.directory ?? "no folder")")
        ChildProcess.killAll()
        exit(1)
    }
}
