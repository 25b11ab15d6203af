// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import TernTransport

/// How many descriptors the process may have, and has.
struct ProcessDescriptors {
    /// RLIMIT_NOFILE.
    let limit: Int
    let inUse: Int

    static var now: ProcessDescriptors {
        var (limit, lowestFree): (Int64, Int64) = (0, 0)
        tern_descriptors(&limit, &lowestFree)
        return ProcessDescriptors(limit: Int(limit), inUse: Int(lowestFree))
    }

    /// For connections.
    var available: Int { ListenerCaps.descriptors(limit: self.limit, inUse: self.inUse) }
}
