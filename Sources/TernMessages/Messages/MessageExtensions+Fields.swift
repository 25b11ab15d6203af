// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

extension MessageExtensions {
    /// - Throws: ``ErrorCode/malformed`` when the extension has another length; so do the others.
    public var clientMessageID: ClientMessageID? {
        get throws(WireError) {
            guard var value = self[.clientMessageID]?.value else { return nil }
            guard value.readableBytes == ClientMessageID.size,
                let (high, low) = value.readMultipleIntegers(as: (UInt64, UInt64).self)
            else { throw WireError(.malformed, "a client message id has \(value.readableBytes) bytes") }
            return ClientMessageID(high: high, low: low)
        }
    }

    public var epoch: Epoch? {
        get throws(WireError) { try self.integer(.epoch, as: UInt64.self).map { Epoch(rawValue: $0) } }
    }

    public var previousSequence: MessageSequence? {
        get throws(WireError) {
            guard let value = try self.integer(.previousSequence, as: UInt64.self) else { return nil }
            guard let sequence = MessageSequence(rawValue: value) else {
                throw WireError(.malformed, "the previous sequence has more than 44 bits")
            }
            return sequence
        }
    }

    public var senderDevice: DeviceID? {
        get throws(WireError) { try self.integer(.senderDevice, as: UInt32.self).flatMap { DeviceID(rawValue: $0) } }
    }

    public var durability: Durability? {
        get throws(WireError) { try self.integer(.durability, as: UInt8.self).map { Durability(rawValue: $0) } }
    }

    public var errorCode: ErrorCode? {
        get throws(WireError) { try self.integer(.errorCode, as: UInt16.self).map { ErrorCode(rawValue: $0) } }
    }

    /// Milliseconds.
    public var retryAfter: UInt32? {
        get throws(WireError) { try self.integer(.retryAfter, as: UInt32.self) }
    }

    public mutating func set(_ id: ClientMessageID, isCritical: Bool) {
        self.set(MessageExtension(.clientMessageID, isCritical: isCritical, value: id.bytes))
    }
}
