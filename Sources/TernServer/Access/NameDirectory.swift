// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import TernMessages
internal import TernStore

/// The names of users, devices and groups: found as they are written, or as ``NameRules`` spells them, and only given to new
/// ones as the rules allow.
struct NameDirectory: Sendable {
    let store: any MessageStore

    /// The user of an accepted token, registered if the name is new.
    ///
    /// - Parameter name: becomes the name that the user has.
    func user(logsInAs name: inout Name) async throws(Failure) -> UserID {
        let known = name
        let canonical: Name
        do throws(Failure) {
            canonical = try NameRules.canonical(name)
        } catch {
            // Nobody gets such a name any more, but who has it keeps it.
            guard let user = try await self.findUser(known) else { throw error }
            return user
        }
        if canonical != known, let user = try await self.findUser(known) { return user }
        name = canonical
        let user = try await Self.asked { () async throws(StoreError) in
            try await self.store.registerUser(named: canonical.text)
        }
        return try Self.checked(UserID(rawValue: user))
    }

    /// The device of an accepted token, registered if the name is new.
    ///
    /// - Parameter name: becomes the name that the device has.
    func device(_ name: inout Name, of user: UserID) async throws(Failure) -> DeviceID {
        let known = name
        let canonical: Name
        do throws(Failure) {
            canonical = try NameRules.canonical(name)
        } catch {
            guard let device = try await self.findDevice(known, of: user) else { throw error }
            return device
        }
        if canonical != known, let device = try await self.findDevice(known, of: user) { return device }
        name = canonical
        let device = try await Self.asked { () async throws(StoreError) in
            try await self.store.registerDevice(named: canonical.text, of: user.rawValue)
        }
        return try Self.checked(DeviceID(rawValue: device))
    }

    /// The user of a name, whom `creator` registers if they are not known.
    ///
    /// - Parameter creator: `nil` when nobody may be registered.
    /// - Returns: `nil` for an unknown user who is not to be registered.
    func user(named name: Name, registeredBy creator: UserID?) async throws(Failure) -> UserID? {
        if let user = try await self.findUser(name) { return user }
        let canonical = try NameRules.canonical(name)
        if canonical != name, let user = try await self.findUser(canonical) { return user }
        guard let creator else { return nil }
        let user = try await Self.asked { () async throws(StoreError) in
            try await self.store.registerUser(named: canonical.text, by: creator.rawValue)
        }
        return try Self.checked(UserID(rawValue: user))
    }

    func group(named name: Name) async throws(Failure) -> UInt64? {
        if let group = try await self.findGroup(name) { return group }
        guard let canonical = try? NameRules.canonical(name), canonical != name else { return nil }
        return try await self.findGroup(canonical)
    }

    private func findUser(_ name: Name) async throws(Failure) -> UserID? {
        let user = try await Self.asked { () async throws(StoreError) in
            try await self.store.findUser(named: name.text)
        }
        return user.flatMap { UserID(rawValue: $0) }
    }

    private func findDevice(_ name: Name, of user: UserID) async throws(Failure) -> DeviceID? {
        let device = try await Self.asked { () async throws(StoreError) in
            try await self.store.findDevice(named: name.text, of: user.rawValue)
        }
        return device.flatMap { DeviceID(rawValue: $0) }
    }

    private func findGroup(_ name: Name) async throws(Failure) -> UInt64? {
        try await Self.asked { () async throws(StoreError) in try await self.store.findGroup(named: name.text) }
    }

    private static func asked<Value>(
        _ question: () async throws(StoreError) -> Value
    ) async throws(Failure) -> Value {
        do throws(StoreError) {
            return try await question()
        } catch {
            throw Failure(error, notFound: .internal)
        }
    }

    private static func checked<Value>(_ value: Value?) throws(Failure) -> Value {
        guard let value else { throw Failure(.internal, "the store gave a number that is none") }
        return value
    }
}
