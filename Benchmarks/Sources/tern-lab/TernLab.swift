// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Dispatch
internal import Foundation

@main
enum TernLab {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.first == "role", arguments.count == 2 { return Self.play(arguments[1]) }
    }

    private static func play(_ role: String) {
        Task {
            do {
                try await JSONDecoder().decode(EndRole.self, from: Data(role.utf8)).play()
                exit(0)
            } catch {
                FileHandle.standardError.write(Data("\(error)\n".utf8))
                exit(1)
            }
        }
        dispatchMain()
    }
}
