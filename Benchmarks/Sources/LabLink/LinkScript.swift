// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// The changes of a network that are still to come, and those that happened but were not yet told.
struct LinkScript {
    private var start: UInt64 = 0
    /// The next one last.
    private var coming: [NetworkChange] = []
    private var applied: [EmulatedLink.AppliedChange] = []

    init() {}

    /// - Parameter start: the time that the changes count from.
    init(_ changes: [NetworkChange], from start: UInt64) {
        self.start = start
        // Those of the same time keep their order, which sort does not promise.
        self.coming = changes.enumerated().sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }
            .map(\.element).reversed()
    }

    var nextTime: UInt64? {
        self.coming.last.map { self.start + nanoseconds($0.at) }
    }

    mutating func next(by now: UInt64) -> EmulatedLink.AppliedChange? {
        guard let time = self.nextTime, time <= now, let change = self.coming.popLast() else { return nil }
        let applied = EmulatedLink.AppliedChange(change: change, time: time)
        self.applied.append(applied)
        return applied
    }

    mutating func takeApplied() -> [EmulatedLink.AppliedChange] {
        guard !self.applied.isEmpty else { return [] }
        defer { self.applied.removeAll() }
        return self.applied
    }
}
