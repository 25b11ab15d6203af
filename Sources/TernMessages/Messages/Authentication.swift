// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// The client's first message on the control stream: who it is.
public struct AuthenticationRequest: Sendable, Hashable {
    /// A signed token (JWT, RFC 7519), or what a development server takes instead; see Docs/PROTOCOL.md.
    public var token: String
    /// The name and version of the client program, for the server's log.
    public var clientProgram: String?

    public init(token: String, clientProgram: String? = nil) {
        self.token = token
        self.clientProgram = clientProgram
    }

    public var message: Message {
        var message = Message(type: .authentication, payload: ByteBuffer(string: self.token))
        if let clientProgram {
            message.extensions.set(MessageExtension(.clientProgram, value: ByteBuffer(string: clientProgram)))
        }
        return message
    }

    /// - Throws: ``ErrorCode/malformed`` when the token is not UTF-8.
    public init(_ message: Message) throws(WireError) {
        guard message.type == .authentication,
            let token = String(validating: message.payload.readableBytesView, as: UTF8.self)
        else { throw WireError(.malformed, "no authentication with a token in UTF-8") }
        self.token = token
        self.clientProgram = message.extensions[.clientProgram].flatMap {
            String(validating: $0.value.readableBytesView, as: UTF8.self)
        }
    }
}

/// The server's answer to a token that it accepts: who the client is, and what the server allows.
public struct AuthenticationAnswer: Sendable, Hashable {
    public var user: UserID
    public var device: DeviceID
    /// The largest payload of a message that the server takes, in bytes.
    public var maximumPayloadLength: UInt32
    /// The largest body of a request that the server takes, in bytes.
    public var maximumRequestLength: UInt32
    /// The most messages of one history page, and entries of one list.
    public var maximumPageCount: UInt32
    /// How long the server recognises a client message id, in seconds.
    public var idempotencyWindow: UInt32
    public var durability: Durability
    public var serverName: Name
    public var userName: Name
    public var deviceName: Name
    /// The server's clock; in the header on the wire.
    public var serverTime: MessageTimestamp

    public init(
        user: UserID, device: DeviceID, maximumPayloadLength: UInt32, maximumRequestLength: UInt32,
        maximumPageCount: UInt32, idempotencyWindow: UInt32, durability: Durability, serverName: Name, userName: Name,
        deviceName: Name, serverTime: MessageTimestamp
    ) {
        self.user = user
        self.device = device
        self.maximumPayloadLength = maximumPayloadLength
        self.maximumRequestLength = maximumRequestLength
        self.maximumPageCount = maximumPageCount
        self.idempotencyWindow = idempotencyWindow
        self.durability = durability
        self.serverName = serverName
        self.userName = userName
        self.deviceName = deviceName
        self.serverTime = serverTime
    }

    public var message: Message {
        var payload = ByteBuffer()
        payload.writeMultipleIntegers(self.user.rawValue, self.device.rawValue)
        payload.writeMultipleIntegers(
            self.maximumPayloadLength, self.maximumRequestLength, self.maximumPageCount, self.idempotencyWindow,
            self.durability.rawValue)
        self.serverName.encode(into: &payload)
        self.userName.encode(into: &payload)
        self.deviceName.encode(into: &payload)
        return Message(
            type: .authentication, receiver: PartyID(self.user), timestamp: self.serverTime, payload: payload)
    }

    /// - Throws: ``ErrorCode/malformed``, ``ErrorCode/invalidName``.
    public init(_ message: Message) throws(WireError) {
        var payload = message.payload
        typealias Numbers = (UInt64, UInt32, UInt32, UInt32, UInt32, UInt32, UInt8)
        guard message.type == .authentication, let numbers = payload.readMultipleIntegers(as: Numbers.self),
            let user = UserID(rawValue: numbers.0), let device = DeviceID(rawValue: numbers.1)
        else { throw WireError(.malformed, "no answer to an authentication") }
        self.init(
            user: user, device: device, maximumPayloadLength: numbers.2, maximumRequestLength: numbers.3,
            maximumPageCount: numbers.4, idempotencyWindow: numbers.5, durability: Durability(rawValue: numbers.6),
            serverName: try Name(decoding: &payload), userName: try Name(decoding: &payload),
            deviceName: try Name(decoding: &payload), serverTime: message.timestamp)
    }
}
