// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Bytes that are not what Docs/PROTOCOL.md says, or a value that has no form on the wire.
public struct WireError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The code with which the receiver answers.
    public var code: ErrorCode
    /// A sentence for people.
    public var message: String
    /// Whether the message had an end all the same, was skipped, and the stream can go on.
    public var isSkipped: Bool
    /// What is known of the message: its header, and its client message id if the extensions were readable.
    public var header: MessageHeader?
    public var clientMessageID: ClientMessageID?

    public init(
        _ code: ErrorCode, _ message: String, isSkipped: Bool = false, header: MessageHeader? = nil,
        clientMessageID: ClientMessageID? = nil
    ) {
        self.code = code
        self.message = message
        self.isSkipped = isSkipped
        self.header = header
        self.clientMessageID = clientMessageID
    }

    public var description: String { "\(self.code): \(self.message)" }
}
