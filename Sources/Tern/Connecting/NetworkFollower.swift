// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
public import NIOCore
public import NIOPosix
internal import TernQUIC
public import TernTransport

/// Moves connections with the device from network to network: it hears from the kernel when addresses or routes change, and asks
/// the routing table from where it would send to the peer now.
///
/// ```swift
/// let follower = NetworkFollower()
/// let following = Task { await follower.follow(connection) }
/// ```
///
/// Without it a client notices only that nothing comes any more, after the interval of its keep-alive or of its pings.
///
/// **Isolation.** Every method may be called from any task.
public struct NetworkFollower: Sendable {
    /// What to do with a connection when something changed.
    enum Verdict: Sendable, Hashable {
        case stay
        /// Over the way that the routing table chooses now (RFC 9000, section 9.2).
        case move
        /// The carrier cannot move, and the address that it uses is no longer ours.
        case giveUp
    }

    /// How the network looks.
    struct View: Sendable {
        var changes: @Sendable () -> AsyncStream<Void>
        var sourceAddress: @Sendable (SocketAddress) -> SocketAddress?
        var isOurs: @Sendable (SocketAddress) -> Bool
    }

    private let view: View
    /// One handover is many changes: an address goes, another comes, a route follows.
    private let settling: Duration

    /// - Parameter eventLoopGroup: where the kernel is listened to.
    public init(eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton) {
        self.init(
            View(
                changes: { NetworkChanges.stream(on: eventLoopGroup.next()) },
                sourceAddress: { NetworkChanges.sourceAddress(towards: $0) },
                isOurs: { address in
                    ((try? System.enumerateDevices()) ?? []).contains { $0.address?.ipAddress == address.ipAddress }
                }), settling: .milliseconds(20))
    }

    init(_ view: View, settling: Duration) {
        self.view = view
        self.settling = settling
    }

    /// Follows the network until the connection ends, or the task is cancelled.
    ///
    /// A connection over QUIC is moved, with everything on it. One over TCP cannot move: it is closed with code 0 when the machine has
    /// lost its address, so that whoever uses it connects again without waiting for a time-out. While there is no way to the
    /// peer at all, nothing happens until there is one. It keeps the connection alive; so close the connection when you are done.
    public func follow(_ connection: Connection) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await connection.closed() }
            group.addTask { await self.reviewWithEachChange(connection) }
            await group.next()
            group.cancelAll()
        }
    }

    private func reviewWithEachChange(_ connection: Connection) async {
        // From where the connection sends: a socket that is bound to no address does not say.
        var place: SocketAddress?
        while !Task.isCancelled {
            let changes = self.view.changes()
            var heard = false
            // What changed before anybody listened.
            await self.review(connection, &place)
            for await _ in changes {
                heard = true
                guard (try? await Task.sleep(for: self.settling)) != nil else { return }
                await self.review(connection, &place)
            }
            // A system that tells nothing is not asked again.
            guard heard else {
                await connection.closed()
                return
            }
        }
    }

    private func review(_ connection: Connection, _ place: inout SocketAddress?) async {
        guard let remote = await connection.remoteAddress(), let source = self.view.sourceAddress(remote) else {
            return
        }
        if place == nil {
            let local = await connection.localAddress()
            place = local.flatMap { Self.isUnspecified($0) ? source : $0 }
        }
        guard let here = place else { return }
        switch self.verdict(on: here, source: source, canMigrate: connection.capabilities.canMigrate) {
        case .stay: break
        case .move:
            // Where it fails the connection is where it was; the next change is another chance.
            if (try? await connection.migrate()) != nil { place = source }
        case .giveUp: await connection.close(code: 0, reason: "the address of the connection is gone")
        }
    }

    private static func isUnspecified(_ address: SocketAddress) -> Bool {
        address.ipAddress == "0.0.0.0" || address.ipAddress == "::"
    }

    /// - Parameters:
    ///   - here: from where the connection sends.
    ///   - source: from where the routing table would send now.
    func verdict(on here: SocketAddress, source: SocketAddress, canMigrate: Bool) -> Verdict {
        guard source.ipAddress != here.ipAddress else { return .stay }
        if canMigrate { return .move }
        return self.view.isOurs(here) ? .stay : .giveUp
    }
}
