// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernMessages

/// A message of a channel as a server pushes it: 64 bytes of text, a header and the extensions.
public struct MessageCoding {
    private let message: ChannelMessage
    private let encoded: ByteBuffer

    public init() throws {
        guard let sender = UserID(rawValue: 7), let receiver = UserID(rawValue: 9),
            let sequence = MessageSequence(rawValue: 1_234), let device = DeviceID(rawValue: 3)
        else { throw WorkloadError("no such user") }
        self.message = ChannelMessage(
            type: .text, sender: sender, senderDevice: device, receiver: PartyID(receiver),
            channel: ChannelID(direct: sender, receiver), epoch: Epoch(rawValue: 5), sequence: sequence,
            timestamp: .none, id: ClientMessageID(high: 1, low: 2), payload: ByteBuffer(repeating: 7, count: 64))
        self.encoded = try self.message.message.encoded()
    }

    /// - Returns: the bytes written.
    public func encode(_ count: Int) throws -> Int {
        var written = 0
        for _ in 0..<count { written += try self.message.message.encoded().readableBytes }
        return written
    }

    /// - Returns: the bytes of payload read.
    public func decode(_ count: Int) throws -> Int {
        var read = 0
        var decoder = MessageDecoder()
        for _ in 0..<count {
            decoder.append(self.encoded)
            guard let message = try decoder.next() else { throw WorkloadError("no message") }
            read += try ChannelMessage(message).payload.readableBytes
        }
        return read
    }
}
