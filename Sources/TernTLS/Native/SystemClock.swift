// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The wall clock, which certificates and tickets count by.
enum SystemClock {
    static var secondsSince1970: Int { Int(time(nil)) }
}
