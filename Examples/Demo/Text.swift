// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation

/// The text of the demo: this repository's own sources and documents, line by line, blank lines included.
struct Text {
    /// Each line without its end; every line ends with a newline in the file.
    let lines: [String]

    /// The first `count` lines of the repository's files, in the order of their names or against it.
    init(repository: URL, count: Int, reversed: Bool) throws {
        let wanted: Set = ["swift", "md", "c", "h"]
        var files: [URL] = []
        for folder in ["Sources", "Tests", "Examples", "Docs"] {
            let folder = repository.appending(path: folder)
            let walk = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
            while let file = walk?.nextObject() as? URL {
                if wanted.contains(file.pathExtension) { files.append(file) }
            }
        }
        files.sort { $0.path < $1.path }
        if reversed { files.reverse() }

        var lines: [String] = []
        for file in files where lines.count < count {
            let content = try String(contentsOf: file, encoding: .utf8)
            lines += content.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
        }
        guard lines.count >= count else {
            throw DemoError("\(repository.path) has \(lines.count) lines of text; the demo was asked for \(count)")
        }
        self.lines = Array(lines.prefix(count))
    }

    var bytes: Data { Data(self.lines.map { $0 + "\n" }.joined().utf8) }
}
