// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Logging
import NIOCore
import TernStore

/// Opens a store and appends without end, printing one line for every receipt. Its end is somebody else's decision.
///
/// `tern-store-victim DIRECTORY [--uid N] [--file-size N] [--hold]`
/// - `--uid`: first become that user.
/// - `--file-size`: no file of this process may grow beyond so many bytes.
/// - `--hold`: open the store, print `open`, and wait for the end of standard input.
@main
enum StoreVictim {
    private static let writers = 6
    private static let groups = 4

    static func main() async {
        var arguments = CommandLine.arguments.dropFirst()
        guard let directory = arguments.popFirst() else { Self.stop("no directory") }
        var holds = false
        while let argument = arguments.popFirst() {
            switch argument {
            case "--uid": setuid(Self.number(arguments.popFirst()))
            case "--file-size": Self.limitFiles(to: rlim_t(Self.number(arguments.popFirst())))
            case "--hold": holds = true
            default: Self.stop("unknown argument \(argument)")
            }
        }
        do {
            let store = try Self.open(directory)
            if holds {
                Self.say("open")
                while readLine() != nil {}
                await store.close()
            } else {
                try await Self.appendForever(to: store)
            }
        } catch {
            Self.stop("\(error)")
        }
    }

    /// Waits for a while for a directory that is in use: a process that a test starts at the same moment holds copies of the test's
    /// locks until it runs its program.
    private static func open(_ directory: String) throws -> SQLiteMessageStore {
        let patience = ContinuousClock.now.advanced(by: .seconds(20))
        while ContinuousClock.now < patience {
            if let store = try Self.openUnlessInUse(directory) { return store }
            usleep(1_000)
        }
        Self.stop("the directory is in use")
    }

    private static func openUnlessInUse(_ directory: String) throws -> SQLiteMessageStore? {
        do throws(StoreError) {
            return try SQLiteMessageStore(
                directory: directory, logger: Logger(label: "victim") { _ in SwiftLogNoOpLogHandler() })
        } catch {
            guard error.code == .inUse else { throw error }
            return nil
        }
    }

    private static func appendForever(to store: SQLiteMessageStore) async throws {
        var users: [UInt64] = []
        for writer in 0..<Self.writers { users.append(try await store.registerUser(named: "writer-\(writer)")) }
        var groups: [UInt64] = []
        for group in 0..<Self.groups {
            let rules = GroupRules(isOpen: true)
            groups.append(try await store.createGroup(named: "group-\(group)", owner: users[0], rules: rules).group)
            for user in users { try await store.join(group: groups[group], user: user) }
        }
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for user in users {
                tasks.addTask { [groups] in
                    while true { try await Self.append(to: store, from: user, groups: groups) }
                }
            }
            try await tasks.waitForAll()
        }
    }

    private static func append(to store: SQLiteMessageStore, from user: UInt64, groups: [UInt64]) async throws {
        let key = IdempotencyKey(high: .random(in: .min ... .max), low: .random(in: .min ... .max))
        let group = groups[Int(key.low % UInt64(groups.count))]
        let receipt = try await store.append(
            Draft(
                channel: .group(group), sender: DeviceKey(user: user, device: 1), key: key, type: 32,
                clientTimestamp: 0,
                payload: ByteBuffer(string: "\(key.high) \(key.low)")))
        Self.say("\(group) \(receipt.epoch) \(receipt.sequence) \(key.high) \(key.low)")
    }

    /// One `write` for a line: whole lines reach the reader although several tasks speak and the process may die.
    private static func say(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
    }

    private static func number(_ text: String?) -> UInt32 {
        guard let number = text.flatMap({ UInt32($0) }) else { Self.stop("a number is missing") }
        return number
    }

    private static func limitFiles(to size: rlim_t) {
        signal(SIGXFSZ, SIG_IGN)
        var limit = rlimit(rlim_cur: size, rlim_max: size)
        #if os(Linux)
        let result = setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
        #else
        let result = setrlimit(RLIMIT_FSIZE, &limit)
        #endif
        if result != 0 { Self.stop("setrlimit: errno \(errno)") }
    }

    private static func stop(_ reason: String) -> Never {
        FileHandle.standardError.write(Data("\(reason)\n".utf8))
        exit(3)
    }
}
