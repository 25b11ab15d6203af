// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How far devices got, with what is not written yet: taken before the transaction began.
extension ReadSession {
    func offsets(of device: DeviceKey, in channel: UInt64) throws(StoreError) -> Offsets {
        let found = try self.offsetsOfDevice.bind(device.user, channel, UInt64(device.device)).first { row in
            Offsets(delivered: row.unsigned(0), read: row.unsigned(1))
        }
        return found ?? Offsets()
    }

    private func offsets(of user: UInt64, in channel: UInt64) throws(StoreError) -> [UInt32: Offsets] {
        let rows = try self.offsetsOfUser.bind(user, channel).all { row in
            (UInt32(truncatingIfNeeded: row.integer(0)), Offsets(delivered: row.unsigned(1), read: row.unsigned(2)))
        }
        return Dictionary(uniqueKeysWithValues: rows)
    }

    /// - Parameter pending: of this channel only.
    func offsetPage(
        of channel: Channel, after device: DeviceKey, limit: Int, pending: [DeviceKey: Offsets],
        notBefore first: UInt64 = 1
    ) throws(StoreError) -> OffsetPage {
        let after = (min(device.user, Schema.largestUser), device.device)
        let rows = try self.offsetsOfChannel
            .bind(channel.number, after.0, UInt64(after.1), UInt64(limit) + 1, first)
            .all { row in
                (
                    DeviceKey(user: row.unsigned(0), device: UInt32(truncatingIfNeeded: row.integer(1))),
                    Offsets(delivered: row.unsigned(2), read: row.unsigned(3))
                )
            }
        var told = Dictionary(uniqueKeysWithValues: rows)
        for (key, offsets) in pending where (key.user, key.device) > after {
            // Whoever left in the meantime has no row, and gets none; nor does who told of messages that there are not.
            if told[key] == nil {
                guard offsets.limited(to: channel.head.sequence, from: first) != Offsets() else { continue }
                guard try self.isMember(key.user, of: channel.number) else { continue }
            }
            told[key, default: Offsets()].advance(to: offsets)
        }
        let sorted = told.keys.sorted { ($0.user, $0.device) < ($1.user, $1.device) }
        let entries = sorted.prefix(limit).map { key in
            OffsetPage.Entry(
                device: key, offsets: (told[key] ?? Offsets()).limited(to: channel.head.sequence, from: first))
        }
        return OffsetPage(entries: entries, hasMore: sorted.count > limit)
    }

    // MARK: The index

    /// - Parameter pending: of this user only.
    func syncPage(
        for device: DeviceKey, after cursor: UInt64, limit: Int, pending: [PendingOffsets.Place: Offsets]
    ) throws(StoreError) -> SyncPage {
        let cursor = min(cursor, Schema.largestChannelNumber)
        let rows = try self.channelsOfUser.bind(device.user, cursor, UInt64(limit)).all { SyncRow($0) }
        let told = Dictionary(grouping: pending, by: \.key.channel)
        var entries: [SyncEntry] = []
        for row in rows { entries.append(try self.entry(row, for: device, told[row.channel.number] ?? [])) }
        return SyncPage(entries: entries, next: rows.count == limit ? rows.last?.channel.number : nil)
    }

    /// - Parameter pending: of this user and channel only.
    func syncEntry(
        for device: DeviceKey, in channel: UInt64, pending: [PendingOffsets.Place: Offsets]
    ) throws(StoreError) -> SyncEntry? {
        guard let row = try self.channelOfUser.bind(device.user, channel).first({ SyncRow($0) }) else { return nil }
        return try self.entry(row, for: device, Array(pending))
    }

    private struct SyncRow {
        var channel: Channel
        var key: ChannelKey
        var joined: UInt64
        var sent: UInt64
        var first: UInt64

        init(_ row: SQLiteStatement) {
            self.channel = ReadSession.channel(row)
            self.key = ChannelKey(low: row.unsigned(4), high: row.unsigned(5))
            self.joined = row.unsigned(6)
            self.sent = row.unsigned(7)
            self.first = row.unsigned(8)
        }
    }

    private func entry(
        _ row: SyncRow, for device: DeviceKey, _ pending: [(key: PendingOffsets.Place, value: Offsets)]
    ) throws(StoreError) -> SyncEntry {
        var told = try self.offsets(of: device.user, in: row.channel.number)
        for (place, offsets) in pending { told[place.device.device, default: Offsets()].advance(to: offsets) }
        let head = row.channel.head.sequence
        told = told.mapValues { $0.limited(to: head, from: row.first) }
        let userRead = told.values.map(\.read).max() ?? 0
        let own = told[device.device] ?? Offsets()
        let seen = max(row.joined, row.sent, userRead)
        return SyncEntry(
            channel: row.key, head: row.channel.head, first: row.first, since: row.joined + 1, own: own,
            userRead: userRead,
            unread: head > seen ? head - seen : 0)
    }
}
