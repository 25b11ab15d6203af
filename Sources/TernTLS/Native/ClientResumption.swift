// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How a client's session resumes an earlier one, and keeps tickets for later ones.
///
/// An object, so that sessions without are smaller.
final class ClientResumption {
    let cache: TLSSessionCache
    let key: TLSSessionCache.Key
    /// What is resumed; `nil` for a full handshake.
    let entry: TLSSessionCache.Entry?
    /// Whether there is something to send early.
    let offersEarlyData: Bool

    init(
        cache: TLSSessionCache, key: TLSSessionCache.Key, entry: TLSSessionCache.Entry?, offersEarlyData: Bool
    ) {
        self.cache = cache
        self.key = key
        self.entry = entry
        self.offersEarlyData = offersEarlyData
    }
}
