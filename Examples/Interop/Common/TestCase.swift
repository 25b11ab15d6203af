// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import Foundation

/// What the quic-interop-runner asks of an endpoint, by the environment variable TESTCASE.
package enum TestCase: String, CaseIterable, Sendable {
    case handshake
    case transfer
    case longrtt
    case chacha20
    case multiplexing
    case retry
    case resumption
    case zerortt
    case blackhole
    case keyupdate
    case ecn
    case amplificationlimit
    /// A connection for each file; the runner's name for the client's part of the two cases below it.
    case multiconnect
    case handshakeloss
    case handshakecorruption
    case transferloss
    case transfercorruption
    case ipv6
    case rebindPort = "rebind-port"
    case rebindAddress = "rebind-addr"
    case connectionMigration = "connectionmigration"
    case http3

    /// - Parameter missing: what the library can't do yet.
    /// - Throws: exit code 127 for a case that is not supported, which is how the runner wants to hear of it.
    package static func fromEnvironment(missing: Set<TestCase> = []) throws -> TestCase {
        let name = Environment.value("TESTCASE") ?? "transfer"
        guard let testCase = TestCase(rawValue: name), !missing.contains(testCase) else {
            Log.say("the test case \(name) is not supported")
            throw ExitCode(127)
        }
        return testCase
    }
}

/// The environment; a variable that is empty counts as missing, as the runner's containers have it.
package enum Environment {
    package static func value(_ name: String) -> String? {
        let value = ProcessInfo.processInfo.environment[name] ?? ""
        return value.isEmpty ? nil : value
    }
}

/// What people should know, on standard error.
package enum Log {
    package static func say(_ text: String) {
        FileHandle.standardError.write(Data("\(text)\n".utf8))
    }
}
