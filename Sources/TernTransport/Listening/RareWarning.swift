// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

/// Lets a warning through, and its repetitions only now and then: an attacker must not fill the log.
package struct RareWarning: Sendable {
    package static let interval = TimeAmount.minutes(10)
    private var latest: NIODeadline?

    package init() {}

    package mutating func isDue(at now: NIODeadline) -> Bool {
        if let latest, now - latest < Self.interval { return false }
        self.latest = now
        return true
    }
}
