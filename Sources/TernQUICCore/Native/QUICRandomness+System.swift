// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS

extension QUICRandomness {
    /// GnuTLS's generator, seeded by the kernel.
    package static let system = QUICRandomness { buffer in
        guard let base = buffer.baseAddress, buffer.count > 0 else { return }
        // It fails only when the kernel's generator does; without unpredictable numbers going on would be unsafe.
        precondition(gnutls_rnd(GNUTLS_RND_RANDOM, base, buffer.count) == 0, "no randomness from the system")
    }
}
