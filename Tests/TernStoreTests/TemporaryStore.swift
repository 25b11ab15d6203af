// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Logging
import NIOCore
import TernStore
import Testing

/// A directory for one test, removed at its end.
func withTemporaryDirectory<Answer>(
    _ body: (String) async throws -> Answer
) async throws -> Answer {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("tern-store-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    return try await body(directory.path)
}

/// A store in a directory of its own, closed at the end.
func withStore<Answer>(
    _ options: SQLiteMessageStore.Options = .init(), _ body: (SQLiteMessageStore) async throws -> Answer
) async throws -> Answer {
    try await withTemporaryDirectory { directory in
        try await withStore(in: directory, options, body)
    }
}

func withStore<Answer>(
    in directory: String, _ options: SQLiteMessageStore.Options = .init(),
    _ body: (SQLiteMessageStore) async throws -> Answer
) async throws -> Answer {
    let store = try openStore(in: directory, options)
    do {
        let answer = try await body(store)
        await store.close()
        return answer
    } catch {
        await store.close()
        throw error
    }
}

/// Opens a store of which the last owner is gone. A process that another test starts at this moment has copies of all descriptors
/// until it runs its program, those of locks among them.
private func openStore(in directory: String, _ options: SQLiteMessageStore.Options) throws -> SQLiteMessageStore {
    let patience = ContinuousClock.now.advanced(by: .seconds(20))
    while ContinuousClock.now < patience {
        if let store = try openUnlessInUse(directory, options) { return store }
        usleep(1_000)
    }
    return try SQLiteMessageStore(directory: directory, options: options, logger: .silent)
}

private func openUnlessInUse(_ directory: String, _ options: SQLiteMessageStore.Options) throws -> SQLiteMessageStore? {
    do throws(StoreError) {
        return try SQLiteMessageStore(directory: directory, options: options, logger: .silent)
    } catch {
        guard error.code == .inUse else { throw error }
        return nil
    }
}

/// The error of an operation that must fail with one.
func storeError<Answer>(
    _ expected: StoreError.Code, sourceLocation: SourceLocation = #_sourceLocation, of body: () async throws -> Answer
) async -> StoreError? {
    do {
        _ = try await body()
        Issue.record("Expected \(expected), but nothing was thrown", sourceLocation: sourceLocation)
    } catch let error as StoreError {
        #expect(error.code == expected, "\(error)", sourceLocation: sourceLocation)
        return error
    } catch {
        Issue.record("Expected \(expected), got \(error)", sourceLocation: sourceLocation)
    }
    return nil
}

extension Logger {
    static var silent: Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }
}

extension Draft {
    static func text(
        _ text: String, to channel: ChannelKey, from user: UInt64, device: UInt32 = 1, key: UInt64? = nil
    ) -> Draft {
        Draft(
            channel: channel, sender: DeviceKey(user: user, device: device),
            key: IdempotencyKey(high: key ?? .random(in: .min ... .max), low: key == nil ? 1 : 0), type: 32,
            clientTimestamp: 7, payload: ByteBuffer(string: text))
    }
}

extension GroupRules {
    /// Everybody may join, and reads everything.
    static let commons = GroupRules(isOpen: true, sharesHistory: true)
}

extension [CommitEvent] {
    var messages: [CommittedMessage] { self.compactMap { if case .message(let message) = $0 { message } else { nil } } }
}

extension StoredMessage {
    var text: String { String(buffer: self.payload) }
}

extension MessageStore {
    /// Two users, registered.
    func pair() async throws -> (alice: UInt64, bob: UInt64) {
        (try await self.registerUser(named: "alice"), try await self.registerUser(named: "bob"))
    }

    /// The whole log, page by page.
    func log(of channel: ChannelKey, pageSize: Int = 1_000) async throws -> [StoredMessage] {
        var messages: [StoredMessage] = []
        while true {
            let page = try await self.history(
                of: channel, from: (messages.last?.sequence ?? 0) + 1, .forward, limit: pageSize, byteLimit: .max)
            messages += page.messages
            if !page.hasMore { return messages }
        }
    }
}
