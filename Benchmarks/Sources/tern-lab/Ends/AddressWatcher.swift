// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernLab
internal import Foundation
internal import Synchronization

/// Hears when the kernel's addresses or routes change, as applications do that follow a device from network to network.
final class AddressWatcher: Sendable {
    private let continuations = Mutex<[AsyncStream<Void>.Continuation]>([])

    init() {
        let descriptor = ternlab_address_watch_open()
        guard descriptor >= 0 else { return }
        // Lives as long as the program, which does one work and ends.
        let thread = Thread { [weak self] in
            while ternlab_address_watch_wait(descriptor) == 0 {
                guard let self else { return }
                // Several changes make one handover: an address goes, a route follows.
                usleep(5_000)
                for continuation in self.continuations.withLock({ $0 }) { continuation.yield() }
            }
        }
        thread.start()
    }

    /// Changes from now on; those that come before the last was taken count as one.
    func changes() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        self.continuations.withLock { $0.append(continuation) }
        return stream
    }
}
