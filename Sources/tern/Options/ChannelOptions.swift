// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import TernMessages

/// A conversation: with one user, or in a group; by name.
enum Conversation: Hashable, CustomStringConvertible {
    case user(Name)
    case group(Name)

    /// - Throws: `ValidationError` when both are given.
    init?(user: Name?, group: Name?, options: String) throws {
        switch (user, group) {
        case (let user?, nil): self = .user(user)
        case (nil, let group?): self = .group(group)
        case (nil, nil): return nil
        case (_?, _?): throw ValidationError("give one of \(options), not both")
        }
    }

    var description: String {
        switch self {
        case .user(let name): "the user \(name)"
        case .group(let name): "the group \(name)"
        }
    }
}

extension Name {
    /// For `@Option(transform:)` and `@Argument(transform:)`: what is no name is found before anything is tried.
    init(argument text: String) throws {
        do {
            try self.init(text)
        } catch {
            // What was given is said before this.
            throw ValidationError("it is no name: \(error.message)")
        }
    }

    /// For `validate()`, where an option has a default.
    init(option: String, _ text: String) throws(ValidationError) {
        do {
            try self.init(text)
        } catch {
            throw ValidationError("\(option) \"\(Output.singleLine(text))\" is no name: \(error.message)")
        }
    }
}
