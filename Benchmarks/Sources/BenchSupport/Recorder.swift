// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

/// Appends records to a file, each as a line of JSON; what was measured before an interruption is kept.
package final class Recorder {
    package let path: String
    private let file: FileHandle
    private let encoder: JSONEncoder

    package init(path: String) throws {
        guard FileManager.default.createFile(atPath: path, contents: nil), let file = FileHandle(forWritingAtPath: path)
        else { throw BenchmarkError("cannot write \(path)") }
        self.path = path
        self.file = file
        self.encoder = JSONEncoder()
        self.encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    }

    package func append(_ record: some Encodable) throws {
        var line = try self.encoder.encode(record)
        line.append(UInt8(ascii: "\n"))
        do {
            try self.file.write(contentsOf: line)
        } catch {
            let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
            throw BenchmarkError("cannot write \(self.path): \((cause ?? error as NSError).localizedDescription)")
        }
    }
}
