// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// The number of the user of a name.
public struct ResolveUser: RequestBody {
    public static let resource = Resource.resolveUser

    public var name: Name
    /// Give the name a number if it has none yet, so that a message can wait for somebody who never connected.
    public var createsIfAbsent: Bool

    public init(name: Name, createsIfAbsent: Bool = true) {
        self.name = name
        self.createsIfAbsent = createsIfAbsent
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(self.createsIfAbsent ? 1 : 0))
        self.name.encode(into: &buffer)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.createsIfAbsent = try buffer.readField(UInt8.self) & 1 != 0
        self.name = try Name(decoding: &buffer)
    }

    public struct Answer: WireBody {
        public var user: UserID

        public init(user: UserID) {
            self.user = user
        }

        public func encode(into buffer: inout ByteBuffer) {
            buffer.writeInteger(self.user.rawValue)
        }

        public init(decoding buffer: inout ByteBuffer) throws(WireError) {
            self.user = try buffer.readUser()
        }
    }
}

/// The names of users; unknown users are missing from the answer.
public struct UserNames: RequestBody {
    public static let resource = Resource.userNames
    /// The most users of one request.
    public static let maximumCount = 256

    public var users: [UserID]

    public init(users: [UserID]) {
        self.users = users
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt16(clamping: self.users.count))
        for user in self.users.prefix(Int(UInt16.max)) { buffer.writeInteger(user.rawValue) }
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        let count = try buffer.readField(UInt16.self)
        guard count <= Self.maximumCount else {
            throw WireError(.malformed, "at most \(Self.maximumCount) users at once")
        }
        self.users = []
        for _ in 0..<count { self.users.append(try buffer.readUser()) }
    }

    public struct Answer: WireBody {
        public var members: [Member]

        public init(members: [Member]) {
            self.members = members
        }

        public func encode(into buffer: inout ByteBuffer) {
            buffer.writeEntries(self.members) { $0.encode(into: &$1) }
        }

        public init(decoding buffer: inout ByteBuffer) throws(WireError) {
            self.members = try buffer.readEntries { bytes throws(WireError) in try Member(decoding: &bytes) }
        }
    }
}

/// A user and their name.
public struct Member: WireBody {
    public var user: UserID
    public var name: Name

    public init(user: UserID, name: Name) {
        self.user = user
        self.name = name
    }

    public func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(self.user.rawValue)
        self.name.encode(into: &buffer)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        self.user = try buffer.readUser()
        self.name = try Name(decoding: &buffer)
    }
}
