// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import HeldWriterSupport
import Synchronization
import TernStore
import TestTimeLimits
import Testing

/// The files are deleted or replaced under a store that has them open: nothing that would be lost is acknowledged.
@Suite(.untilItHangs) struct LostDirectoryTests {
    enum Blow: String, CaseIterable {
        case removedDirectory, movedDirectory, replacedDirectory, removedDatabase, replacedDatabase, removedLog,
            replacedLog

        func strike(_ directory: String) throws {
            let files = FileManager.default
            let (database, log) = (directory + "/messages.sqlite", directory + "/messages.sqlite-wal")
            switch self {
            case .removedDirectory: try files.removeItem(atPath: directory)
            case .movedDirectory: try files.moveItem(atPath: directory, toPath: directory + "-elsewhere")
            case .replacedDirectory:
                try files.moveItem(atPath: directory, toPath: directory + "-elsewhere")
                try files.copyItem(atPath: directory + "-elsewhere", toPath: directory)
            case .removedDatabase: try files.removeItem(atPath: database)
            case .replacedDatabase: try Self.replace(database)
            case .removedLog: try files.removeItem(atPath: log)
            case .replacedLog: try Self.replace(log)
            }
        }

        private static func replace(_ path: String) throws {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            try FileManager.default.removeItem(atPath: path)
            // A file in between keeps the number of the old one from being given again.
            try Data().write(to: URL(fileURLWithPath: path + ".between"))
            try bytes.write(to: URL(fileURLWithPath: path))
        }
    }

    @Test(arguments: Blow.allCases)
    func nothingIsAcknowledgedAfterTheFilesAreGone(blow: Blow) async throws {
        try await withTemporaryDirectory { parent in
            let directory = parent + "/data"
            try await withStore(in: directory) { store in
                let (alice, bob) = try await store.pair()
                let observed = Mutex(0)
                _ = try await store.append(.text("1", to: .direct(alice, bob), from: alice))
                store.observeCommits { events in observed.withLock { $0 += events.count } }
                let held = try await HeldWriter(of: store)
                let waiting = await held.queue {
                    try await store.append(.text("2", to: .direct(alice, bob), from: alice))
                }
                let change = await held.queue { try await store.createGroup(named: "g", owner: alice) }
                try blow.strike(directory)
                held.letGo()
                let error = await storeError(.lost) { try await waiting.value }
                #expect(error?.message.contains("messages.sqlite") == true, "\(String(describing: error))")
                _ = await storeError(.lost) { try await change.value }
                _ = await storeError(.lost) {
                    try await store.append(.text("3", to: .direct(alice, bob), from: alice))
                }
                _ = await storeError(.lost) {
                    try await store.advanceOffsets(
                        .init(read: 1), of: .init(user: bob, device: 1), in: .direct(alice, bob))
                }
                guard case .lost = store.status else {
                    Issue.record("\(store.status)")
                    return
                }
                // Nobody was pushed what nobody will find.
                #expect(observed.withLock { $0 } == 0)
            }
        }
    }
}
