// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Logging
import Synchronization
import TernQUICCore
import TernTransport
import Testing

@testable import TernQUIC

@Suite("Files for qlogs")
final class QlogFileTests {
    private let directory = FileManager.default.temporaryDirectory.appending(path: "tern-qlog-\(UUID())")
    private let warnings = Warnings()

    init() throws {
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: self.directory) }

    private final class Warnings: Sendable {
        private let all = Mutex<[String]>([])
        var texts: [String] { self.all.withLock { $0 } }
        func append(_ text: String) { self.all.withLock { $0.append(text) } }
    }

    private struct Handler: LogHandler {
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.warning
        let warnings: Warnings

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) { self.warnings.append("\(event.message)") }
    }

    private func sink(_ budget: QlogBudget, in directory: String? = nil) -> QlogFile {
        let warnings = self.warnings
        let logger = Logger(label: "qlog") { _ in Handler(warnings: warnings) }
        return QlogFile(directory: directory ?? self.directory.path, budget: budget, logger: logger)
    }

    private func write(_ text: String, to sink: QlogFile) {
        Array(text.utf8).withUnsafeBytes { sink.write($0) }
    }

    private var files: [String: String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: self.directory.path)) ?? []
        return Dictionary(
            uniqueKeysWithValues: names.map {
                ($0, (try? String(contentsOf: self.directory.appending(path: $0), encoding: .utf8)) ?? "")
            })
    }

    private let id = QUICConnectionID([1, 2, 3, 4, 5, 6, 7, 8])

    @Test("There is no file before the peer's address is proven, and then it has everything")
    func proof() {
        let budget = QlogBudget(most: 1)
        do {
            let stranger = self.sink(budget)
            stranger.begin(self.id, role: .server)
            self.write("unproven", to: stranger)
        }
        #expect(self.files.isEmpty)
        do {
            let sink = self.sink(budget)
            self.write("header ", to: sink)
            sink.begin(self.id, role: .server)
            self.write("before ", to: sink)
            sink.peerIsProven()
            self.write("after", to: sink)
        }
        #expect(self.files == ["0102030405060708_server.sqlog": "header before after"])
    }

    @Test("What is kept without a proof is bounded")
    func bound() {
        do {
            let sink = self.sink(QlogBudget(most: 1))
            sink.begin(self.id, role: .server)
            for _ in 0..<100 { self.write(String(repeating: "x", count: 1_000), to: sink) }
            sink.peerIsProven()
            self.write("end", to: sink)
        }
        let text = self.files["0102030405060708_server.sqlog"] ?? ""
        #expect(text.utf8.count < 17_000 && text.hasSuffix("xend"))
    }

    @Test("A connection ID that comes again empties no file")
    func again() {
        for text in ["first", "second", "third"] {
            let sink = self.sink(QlogBudget(most: 1))
            sink.begin(self.id, role: .server)
            sink.peerIsProven()
            self.write(text, to: sink)
        }
        #expect(
            self.files == [
                "0102030405060708_server.sqlog": "first", "0102030405060708_server_2.sqlog": "second",
                "0102030405060708_server_3.sqlog": "third",
            ])
    }

    @Test("A directory that cannot be written is warned of once")
    func unwritable() {
        let budget = QlogBudget(most: 10)
        for _ in 0..<1_000 {
            let sink = self.sink(budget, in: "/proc/nowhere")
            sink.begin(self.id, role: .server)
            sink.peerIsProven()
        }
        #expect(self.warnings.texts.count == 1)
    }

    @Test("No more files are open than there are descriptors for")
    func budget() {
        let budget = QlogBudget(most: 2)
        var sinks: [QlogFile] = []
        for _ in 0..<5 {
            let sink = self.sink(budget)
            sink.begin(self.id, role: .server)
            sink.peerIsProven()
            sinks.append(sink)
        }
        #expect(self.files.count == 2)
        #expect(self.warnings.texts.count == 1)
        sinks = []
        let next = self.sink(budget)
        next.begin(self.id, role: .server)
        next.peerIsProven()
        #expect(self.files.count == 3)
    }
}
