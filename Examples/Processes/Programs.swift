// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import Foundation

/// The programs of this package, as they were built.
package enum Programs {
    /// One of them, in the folder that the environment variable `TERN_PROGRAMS` names, such as that of optimised ones; without it
    /// beside the program that runs, where a build puts it.
    package static func named(_ name: String) throws -> URL {
        let file = try Self.folder().appending(path: name)
        guard FileManager.default.isExecutableFile(atPath: file.path) else {
            throw ProgramError(description: "\(file.path) is not built")
        }
        return file
    }

    package static func folder() throws -> URL {
        if let named = ProcessInfo.processInfo.environment["TERN_PROGRAMS"], !named.isEmpty {
            return URL(filePath: named, directoryHint: .isDirectory)
        }
        guard let own = Bundle.main.executableURL else {
            throw ProgramError(description: "this program does not know where it lies")
        }
        return own.deletingLastPathComponent()
    }
}

/// Why a program cannot be started.
package struct ProgramError: Error, CustomStringConvertible {
    package let description: String
}
