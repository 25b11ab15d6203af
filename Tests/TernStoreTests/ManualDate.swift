// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Synchronization

/// A date that only the test moves.
final class ManualDate: Sendable {
    private let now: Mutex<UInt64>

    init(milliseconds: UInt64) { self.now = Mutex(milliseconds) }

    var milliseconds: UInt64 { self.now.withLock { $0 } }
    func advance(_ milliseconds: UInt64) { self.now.withLock { $0 += milliseconds } }
    func set(_ milliseconds: UInt64) { self.now.withLock { $0 = milliseconds } }
}
