// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation

/// Writes a text to a sender's standard input in three parts, so that every fault strikes a conversation that is going on:
/// half of it before the kill (which comes at a third), up to five sixths before the block (at two thirds), then the rest.
struct Feeder {
    /// What the sender reads.
    var input: FileHandle { self.pipe.fileHandleForReading }

    private let pipe = Pipe()
    private let parts: [Data]
    /// A write waits while the pipe is full.
    private let queue = DispatchQueue(label: "feeder")

    init(text: Text) {
        let count = text.lines.count
        self.parts = [0..<count / 2, count / 2..<count * 5 / 6, count * 5 / 6..<count].map { range in
            Data(text.lines[range].map { $0 + "\n" }.joined().utf8)
        }
    }

    func feedUntilKill() { self.feed(0) }
    func feedUntilBlock() { self.feed(1) }

    func feedRest() {
        self.feed(2)
        let pipe = self.pipe
        self.queue.async { try? pipe.fileHandleForWriting.close() }
    }

    /// A sender that is gone says why by its exit code; the failed write adds nothing.
    private func feed(_ part: Int) {
        let (pipe, bytes) = (self.pipe, self.parts[part])
        self.queue.async { try? pipe.fileHandleForWriting.write(contentsOf: bytes) }
    }
}
