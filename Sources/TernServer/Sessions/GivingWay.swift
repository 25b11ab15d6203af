// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Which session of a user gives way to a new one when there are as many as allowed: the one that was silent for longest, if that
/// was long enough.
package enum GivingWay<Session> {
    case session(Session)
    /// All are in use. After this long, one of them may not be any more.
    case nobody(wait: Duration)

    /// - Parameters:
    ///   - sessions: those of the user, and for how long nothing came from each.
    ///   - patience: so long a session may be silent.
    package static func choose(
        among sessions: [(session: Session, silence: Duration)], patience: Duration
    ) -> Self {
        guard let quietest = sessions.max(by: { $0.silence < $1.silence }) else { return .nobody(wait: patience) }
        guard quietest.silence >= patience else { return .nobody(wait: patience - quietest.silence) }
        return .session(quietest.session)
    }
}
