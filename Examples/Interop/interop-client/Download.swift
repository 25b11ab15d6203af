// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import InteropCommon
import NIOCore

/// A file that gets its name when it is complete, and is gone when it never is.
final class Download {
    private let path: (temporary: String, final: String)
    private let file: File
    private var isComplete = false

    init(_ path: (temporary: String, final: String)) throws {
        self.path = path
        self.file = try File(creating: path.temporary)
    }

    deinit {
        if !self.isComplete { unlink(self.path.temporary) }
    }

    func write(_ bytes: ByteBuffer) throws {
        try self.file.write(bytes)
    }

    /// In place of what had the name before.
    func complete() throws {
        guard rename(self.path.temporary, self.path.final) == 0 else {
            throw IOError(errnoCode: errno, reason: "rename to \(self.path.final)")
        }
        self.isComplete = true
    }
}
