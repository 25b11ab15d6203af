// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Why an operation of a ``MessageStore`` failed.
///
/// Nothing that failed was stored, except that ``Code/readOnly`` after an error of the disk means what it says there.
public struct StoreError: Error, Sendable {
    /// What kind of failure it is. Grows without breaking callers.
    public var code: Code
    /// A sentence for people, with the path if it is about a file.
    public var message: String
    /// What SQLite said (extended result code), if it was asked.
    public var sqliteCode: Int32?
    /// What lies beneath, such as an errno.
    public var cause: (any Error)?

    public init(_ code: Code, message: String, sqliteCode: Int32? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.sqliteCode = sqliteCode
        self.cause = cause
    }

    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case notFound, conflict, invalidName, tooLarge, limitReached, quotaExceeded, groupFull, notAMember,
                notInvited
            case readOnly, lost, closed, inUse, otherVersion, notADatabase, unusable, corrupt, internalError
        }

        private let kind: Kind

        /// No such user, group or channel.
        public static let notFound = Code(kind: .notFound)
        /// The key of the message is known with other content or for another channel.
        public static let conflict = Code(kind: .conflict)
        /// A name is empty, too long, or has control characters.
        public static let invalidName = Code(kind: .invalidName)
        /// A payload or extension is larger than the store takes.
        public static let tooLarge = Code(kind: .tooLarge)
        /// There is no number left for another user, group, device or channel.
        public static let limitReached = Code(kind: .limitReached)
        /// The user made, or takes part in, as much as ``UserQuotas`` allow.
        public static let quotaExceeded = Code(kind: .quotaExceeded)
        /// The group has as many members as ``UserQuotas`` allow.
        public static let groupFull = Code(kind: .groupFull)
        /// The user is not a member of the group.
        public static let notAMember = Code(kind: .notAMember)
        /// The group is closed, and no member invited the user.
        public static let notInvited = Code(kind: .notInvited)
        /// The files of the store were deleted or replaced under it: nothing is taken any more.
        public static let lost = Code(kind: .lost)
        /// The disk is full, failing or read-only, or another program has the database locked. The message was not acknowledged and is normally not in the log; if the disk
        /// failed in the middle of the commit it may turn out to be there, so sending it again with the same key is the safe way.
        public static let readOnly = Code(kind: .readOnly)
        /// The store is closed.
        public static let closed = Code(kind: .closed)
        /// Another process has the data directory open.
        public static let inUse = Code(kind: .inUse)
        /// The data was written by another version; nothing was touched.
        public static let otherVersion = Code(kind: .otherVersion)
        /// The file is not one of ours; nothing was touched.
        public static let notADatabase = Code(kind: .notADatabase)
        /// The data directory cannot be used: no permission, not a directory, no such path.
        public static let unusable = Code(kind: .unusable)
        /// The data contradicts itself.
        public static let corrupt = Code(kind: .corrupt)
        /// SQLite failed in a way that has no kind of its own.
        public static let internalError = Code(kind: .internalError)

        public var description: String { self.kind.rawValue }
    }
}

extension StoreError: Equatable {
    public static func == (left: StoreError, right: StoreError) -> Bool { left.code == right.code }
}

extension StoreError: CustomStringConvertible {
    public var description: String {
        var text = "\(self.code): \(self.message)"
        if let sqliteCode { text += " (SQLite \(sqliteCode))" }
        if let cause { text += " (\(cause))" }
        return text
    }
}
