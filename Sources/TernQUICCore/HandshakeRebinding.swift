// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore

/// A server's view of a client whose port changes before the handshake is done, because a NAT forgot it.
///
/// RFC 9000, section 9 has no migration that early, and ngtcp2 ignores what comes from elsewhere, so such a client could
/// never connect. Its packets are taken as if they came from the first port, and the answers go to the latest one. Only
/// the port may differ: nobody can direct the answers at another host.
package struct HandshakeRebinding {
    private var latest: QUICPath?

    package init() {}

    /// The path on which the connection is to see a datagram.
    ///
    /// - Parameter first: the connection's path.
    package mutating func pathForConnection(_ path: QUICPath, first: QUICPath, isEstablished: Bool) -> QUICPath {
        // Back at the first port; or from now on the connection migrates by itself.
        guard path != first, !isEstablished else {
            self.latest = nil
            return path
        }
        guard path.local == first.local, path.remote.hasSameIPAddress(as: first.remote) else { return path }
        self.latest = path
        return first
    }

    /// Where a train of the connection goes.
    package func pathForSocket(_ path: QUICPath, first: QUICPath) -> QUICPath {
        guard let latest, path == first else { return path }
        return latest
    }
}

extension SocketAddress {
    fileprivate func hasSameIPAddress(as other: SocketAddress) -> Bool {
        var moved = self
        moved.port = other.port
        return moved == other
    }
}
