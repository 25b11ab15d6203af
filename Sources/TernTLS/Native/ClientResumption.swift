// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How a client's session resumes an earlier one, and keeps tickets for later ones.
struct ClientResumption {
    let cache: TLSSessionCache
    let key: TLSSessionCache.Key
    /// What is resumed; `nil` for a full handshake.
    let entry: TLSSessionCache.Entry?
    /// Whether there is something to send early.
    let offersEarlyData: Bool
}
