// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser

/// A conversation: with one user, or in a group; by name.
enum Conversation: Hashable, CustomStringConvertible {
    case user(String)
    case group(String)

    /// - Throws: `ValidationError` when both are given.
    init?(user: String?, group: String?, options: String) throws {
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
