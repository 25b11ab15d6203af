// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Whether the peer acknowledges what the streams send.
///
/// The idle timeout does not say: a path that has stopped to carry large packets still carries the small ones that keep a
/// connection alive.
struct SendProgress {
    /// Stream bytes that were sent and neither acknowledged nor given up.
    private(set) var outstanding = 0
    /// Since when none of them was acknowledged; `nil` if there are none.
    private(set) var waitingSince: UInt64?

    mutating func sent(_ count: Int, now: UInt64) {
        guard count > 0 else { return }
        self.outstanding += count
        if self.waitingSince == nil { self.waitingSince = now }
    }

    mutating func acknowledged(_ count: Int, now: UInt64) {
        guard count > 0 else { return }
        self.outstanding = max(self.outstanding - count, 0)
        self.waitingSince = self.outstanding > 0 ? now : nil
    }

    /// Their stream was reset or ended: nobody waits for them any more.
    mutating func gaveUp(_ count: Int) {
        self.outstanding = max(self.outstanding - count, 0)
        if self.outstanding == 0 { self.waitingSince = nil }
    }

    /// When the patience of the connection ends; `nil`: never.
    func deadline(after patience: UInt64?) -> UInt64? {
        guard let patience, let waitingSince else { return nil }
        let (deadline, overflows) = waitingSince.addingReportingOverflow(patience)
        return overflows ? nil : deadline
    }
}
