// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation

/// What the demo was asked to do.
struct Options {
    var lines = 6_000
    var deadline = 300
    var repository = URL(filePath: FileManager.default.currentDirectoryPath)
    /// Made anew by every run, and kept afterwards to be looked at.
    var directory: URL
    /// The command, which the build puts beside the demo.
    let tern: URL

    private static let usage = """
        usage: demo [--lines N] [--directory DIR] [--deadline SECONDS]
          --lines N        lines of text in each direction (6000)
          --directory DIR  where data, texts and logs are kept (.build/demo); emptied first if a demo made it
          --deadline S     give up after this many seconds (300)
        """

    init(arguments: [String]) throws {
        self.directory = self.repository.appending(path: ".build/demo")

        var rest = arguments[...]
        while let option = rest.popFirst() {
            if option == "--help" || option == "-h" {
                print(Self.usage)
                exit(0)
            }
            guard let value = rest.popFirst() else {
                throw DemoError("\(option) needs a value\n\(Self.usage)", exitCode: 64)
            }
            switch (option, Int(value)) {
            case ("--lines", let number?) where number >= 12: self.lines = number
            case ("--deadline", let number?) where number > 0: self.deadline = number
            case ("--directory", _): self.directory = URL(filePath: value)
            default: throw DemoError("\(option) \(value) means nothing\n\(Self.usage)", exitCode: 64)
            }
        }
        self.tern = try Programs.named("tern")
        try self.emptyDirectory()
    }

    /// Removes only what a demo left, told by its mark.
    private func emptyDirectory() throws {
        let files = FileManager.default
        let mark = self.directory.appending(path: "made-by-tern-demo")
        if files.fileExists(atPath: self.directory.path) {
            guard files.fileExists(atPath: mark.path) else {
                throw DemoError("\(self.directory.path) exists and no demo made it; name another --directory")
            }
            try files.removeItem(at: self.directory)
        }
        try files.createDirectory(at: self.directory, withIntermediateDirectories: true)
        try Data().write(to: mark)
    }
}
