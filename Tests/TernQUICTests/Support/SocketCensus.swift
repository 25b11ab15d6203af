// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CarrierSupport
import NIOCore

@testable import TernQUIC

/// Counts the UDP sockets that are opened with its options.
final class SocketCensus: Sendable {
    private let counts = NIOLockedBox((open: 0, ever: 0))

    var open: Int { self.counts.value.open }
    var everOpened: Int { self.counts.value.ever }

    var options: UDPSocketOptions {
        var options = UDPSocketOptions()
        options.makeSender = { channel, descriptor in
            self.counts.update { $0 = ($0.open + 1, $0.ever + 1) }
            channel.closeFuture.whenComplete { _ in self.counts.update { $0.open -= 1 } }
            return SystemDatagramSender(channel: channel, descriptor: descriptor, usesSourceAddress: false)
        }
        return options
    }
}
