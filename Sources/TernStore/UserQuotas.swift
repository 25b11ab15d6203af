// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How much of what lasts one user may make: everybody who is let in, however often they come back, costs the store no more than
/// this beside their messages.
///
/// What was made before a quota was lowered stays.
public struct UserQuotas: Sendable, Hashable {
    /// Groups that a user is in at the same time.
    public var groups = 1_000
    /// Groups that a user made, in all.
    public var groupsCreated = 1_000
    /// User names that a user registered for others, so that messages can wait for them, in all.
    public var namesRegistered = 10_000
    /// Direct channels of which a user wrote the first message, in all.
    public var conversationsBegun = 10_000
    /// Invitations of a user that nobody has taken yet.
    public var invitations = 10_000
    /// Members of one group.
    public var groupMembers = 10_000

    public init() {}

    /// No limits: for who calls the store without a server.
    public static let unlimited: UserQuotas = {
        var quotas = UserQuotas()
        quotas.groups = .max
        quotas.groupsCreated = .max
        quotas.namesRegistered = .max
        quotas.conversationsBegun = .max
        quotas.invitations = .max
        quotas.groupMembers = .max
        return quotas
    }()
}
