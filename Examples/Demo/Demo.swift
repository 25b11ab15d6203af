// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOPosix

/// Two users exchange a real text through a durable server; the server is killed, and then UDP is blocked.
@main
struct Demo {
    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        let interrupts = Self.endChildrenWhenInterrupted()
        defer { for interrupt in interrupts { interrupt.cancel() } }
        do {
            let options = try Options(arguments: Array(CommandLine.arguments.dropFirst()))
            let passed = try await Self.run(options)
            ChildProcess.killAll()
            exit(passed ? 0 : 1)
        } catch {
            ChildProcess.killAll()
            print("\ndemo: FAIL: \(error)")
            exit((error as? DemoError)?.exitCode ?? 1)
        }
    }

    private static func run(_ options: Options) async throws -> Bool {
        let tern = TernCommand(executable: options.tern, directory: options.directory)
        let texts = try [false, true].map {
            try Text(repository: options.repository, count: options.lines, reversed: $0)
        }
        // Nothing in the demo waits for a time to pass; this only keeps a broken build from hanging.
        let watchdog = Task {
            try await Task.sleep(for: .seconds(options.deadline))
            ChildProcess.killAll()
            print("\ndemo: FAIL: not finished after \(options.deadline) s; the logs are in \(options.directory.path)")
            exit(1)
        }
        defer { watchdog.cancel() }
        let progress = Progress(total: 2 * options.lines)
        var exchange = try await Exchange(
            tern: tern, texts: texts, progress: progress, loop: MultiThreadedEventLoopGroup.singleton.next())
        try await exchange.run()
        return try Report(exchange: exchange, tern: tern).printAll()
    }

    /// The children are in process groups of their own, so that an interrupt of the terminal does not reach them.
    private static func endChildrenWhenInterrupted() -> [any DispatchSourceSignal] {
        [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                ChildProcess.killAll()
                exit(128 + number)
            }
            source.resume()
            return source
        }
    }
}
