// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages

/// What a server has, as far as it concerns one device.
package struct DeviceTruth: Sendable {
    /// The log of a channel.
    package struct Log: Sendable {
        package let epoch: Epoch
        /// By sequence, from 1; `nil` where the data were damaged.
        package let ids: [ClientMessageID?]

        package init(epoch: Epoch, ids: [ClientMessageID?]) {
            self.epoch = epoch
            self.ids = ids
        }

        package var head: UInt64 { UInt64(self.ids.count) }
    }

    /// A channel that the user is in.
    package struct Part: Sendable {
        /// The first sequence that they may read.
        package let first: UInt64
        /// Of a group, the first sequence that was given after they joined.
        package let since: UInt64?
        /// Up to where the server knows that the device received, and the user read on it.
        package let delivered: UInt64
        package let read: UInt64
        /// Whether the log lost its tail once.
        package let wasRestarted: Bool

        package init(first: UInt64, since: UInt64?, delivered: UInt64, read: UInt64, wasRestarted: Bool = false) {
            self.first = first
            self.since = since
            self.delivered = delivered
            self.read = read
            self.wasRestarted = wasRestarted
        }
    }

    /// Of all channels.
    package let logs: [ChannelID: Log]
    /// Of those that have a log and that the user is in.
    package let parts: [ChannelID: Part]

    package init(logs: [ChannelID: Log], parts: [ChannelID: Part]) {
        self.logs = logs
        self.parts = parts
    }
}
