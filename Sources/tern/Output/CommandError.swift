// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser

/// Why the command stops: one line for people, one code for scripts.
struct CommandError: Error, CustomStringConvertible {
    let code: Code
    /// One line that says what is wrong and, where possible, what to do.
    let message: String

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The exit codes, with the meanings of sysexits.h. Docs/COMMAND.md lists them; a number never changes its meaning.
    enum Code: Int32, CaseIterable {
        /// The command line is wrong; nothing was tried. (ArgumentParser's own errors have this code too.)
        case usage = 64
        /// Input that cannot be sent: a line over the limit, an unknown user or group, a refused message.
        case badInput = 65
        /// A file that was named cannot be read: CA, certificate, key, secret, token.
        case unreadableFile = 66
        /// The server cannot be reached, is not who it should be, or speaks another protocol.
        case unavailable = 69
        /// A fault of the program itself.
        case `internal` = 70
        /// The address is taken or may not be listened at.
        case cannotListen = 71
        /// The data directory cannot be made or written.
        case cannotCreate = 73
        /// Reading the input or writing the output or the store failed.
        case inputOutput = 74
        /// The server refused the token.
        case notPermitted = 77
        /// Files that do not fit together or are not Tern's: certificate and key, a data directory of another version.
        case configuration = 78

        /// The name that JSON lines carry.
        var name: String {
            switch self {
            case .usage: "usage"
            case .badInput: "badInput"
            case .unreadableFile: "unreadableFile"
            case .unavailable: "unavailable"
            case .internal: "internal"
            case .cannotListen: "cannotListen"
            case .cannotCreate: "cannotCreate"
            case .inputOutput: "inputOutput"
            case .notPermitted: "notPermitted"
            case .configuration: "configuration"
            }
        }
    }

    var description: String { self.message }
}

extension Output {
    /// Runs a verb: what it throws becomes one line on standard error and the exit code. Returns when all is written.
    func run(_ body: () async throws -> Void) async throws {
        ignoreBrokenPipes()
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        guard case .failure(let failure) = result else { return await self.flush() }
        if let exit = failure as? ExitCode {
            await self.flush()
            throw exit
        }
        let error = CommandError(describing: failure)
        self.report(error)
        await self.flush()
        throw ExitCode(error.code.rawValue)
    }
}
