// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
internal import Logging
internal import NIOCore
internal import TernStore

/// A store in a directory of its own, with two users and their channel.
///
/// Receipts are given after the commit reached the kernel: what is measured is this code and SQLite, not the disk.
public final class StoreLog: Sendable {
    private let directory: URL
    private let store: SQLiteMessageStore
    private let channel: ChannelKey
    private let sender: DeviceKey

    public init() async throws {
        self.directory = FileManager.default.temporaryDirectory.appendingPathComponent(
            "tern-micro-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
        var options = SQLiteMessageStore.Options()
        options.durability = .normal
        self.store = try SQLiteMessageStore(
            directory: self.directory.path, options: options,
            logger: Logger(label: "micro") { _ in SwiftLogNoOpLogHandler() })
        let user = try await self.store.registerUser(named: "alice")
        let peer = try await self.store.registerUser(named: "bob")
        self.sender = DeviceKey(user: user, device: try await self.store.registerDevice(named: "phone", of: user))
        self.channel = .direct(user, peer)
    }

    /// Closes the store and removes its directory.
    public func close() async {
        await self.store.close()
        try? FileManager.default.removeItem(at: self.directory)
    }

    /// Appends `count` batches of 100 messages of 256 bytes, each batch after the one before was committed.
    ///
    /// - Returns: how many messages were stored.
    public func append(_ count: Int) async throws -> Int {
        var stored = 0
        for _ in 0..<count {
            let drafts = (0..<100).map { _ in
                Draft(
                    channel: self.channel, sender: self.sender,
                    key: IdempotencyKey(high: .random(in: .min ... .max), low: 1), type: 32, clientTimestamp: 7,
                    payload: ByteBuffer(repeating: 7, count: 256))
            }
            for result in await self.store.append(contentsOf: drafts) {
                _ = try result.get()
                stored += 1
            }
        }
        return stored
    }

    /// Reads the first 100 messages of the channel, `count` times.
    ///
    /// - Returns: how many were read.
    public func read(_ count: Int) async throws -> Int {
        var read = 0
        for _ in 0..<count {
            let page = try await self.store.history(
                of: self.channel, from: 1, .forward, limit: 100, byteLimit: .max)
            read += page.messages.count
        }
        return read
    }
}
