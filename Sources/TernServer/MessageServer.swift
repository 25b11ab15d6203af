// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
public import Logging
internal import NIOCore
internal import TernMessages
public import TernStore
public import TernTransport

/// The message server: authenticates connections, stores what they send and pushes it to who is connected.
///
/// ```swift
/// let server = MessageServer(store: store, configuration: ServerConfiguration(name: try Name("tern")), logger: logger)
/// // for every accepted connection, whatever carries it:
/// await server.serve(connection)
/// // at the end:
/// await server.drain(grace: .seconds(5))
/// ```
///
/// It is the one observer of its store from its creation until ``drain(grace:)`` returns, and sets its quotas. It does not
/// close the store.
///
/// **Isolation.** Every method may be called from any task.
public final class MessageServer: Sendable {
    let store: any MessageStore
    let configuration: ServerConfiguration
    let logger: Logger
    let hub: Hub
    let authenticator: Authenticator
    let names: NameDirectory
    let refusals: RefusalLog

    public init(store: any MessageStore, configuration: ServerConfiguration, logger: Logger) {
        self.store = store
        self.configuration = configuration
        self.logger = logger
        self.refusals = RefusalLog(logger)
        self.names = NameDirectory(store: store)
        self.hub = Hub(workPerUser: configuration.maximumRequestsPerUser)
        self.authenticator = Authenticator(
            serverName: configuration.name, secret: configuration.secret,
            acceptsDevelopmentTokens: configuration.acceptsDevelopmentTokens)
        store.limit(to: configuration.quotas)
        store.observeCommits { [hub] events in hub.follow(events) }
    }

    /// Connections that are served now.
    public var connectionCount: Int { self.hub.connectionCount }

    /// Serves one connection and returns when it is closed. Nothing that the peer sends ends more than its own
    /// connection.
    ///
    /// Cancelling the task closes the connection at once.
    public func serve(_ connection: Connection) async {
        guard self.hub.opened(connection, limit: self.configuration.maximumConnections) else {
            await connection.close(
                code: CloseCode.tooManyConnections.rawValue, reason: "the server has too many connections")
            return
        }
        await ConnectionService(server: self, connection: connection).run()
        self.hub.closed(connection)
    }

    /// Tells every client to go elsewhere, waits until they are gone or `grace` is over, and closes who is left.
    ///
    /// From its call on new connections are refused. Messages that come in the meantime are still stored.
    public func drain(grace: Duration) async {
        let milliseconds = UInt32(min(max(grace / .milliseconds(1), 0), Double(UInt32.max)))
        let sessions = self.hub.startDraining()
        for session in sessions { session.drain(retryAfter: milliseconds) }
        self.logger.info("draining", metadata: ["sessions": "\(sessions.count)", "grace": "\(grace)"])
        await self.waitUntilEmpty(atMost: grace)
        let rest = self.hub.connections
        await withDiscardingTaskGroup { group in
            for connection in rest {
                group.addTask {
                    await connection.close(code: CloseCode.draining.rawValue, reason: "the server stops")
                }
            }
        }
        self.store.observeCommits(nil)
    }

    private func waitUntilEmpty(atMost grace: Duration) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await Task.sleep(for: grace) }
            group.addTask { await self.hub.untilEmpty() }
            await group.next()
            group.cancelAll()
        }
    }

    /// What tokens are compared with.
    var time: ServerTime { ServerTime(wall: Int64(self.now.rawValue / 1000), monotonic: .now) }

    /// Milliseconds since 1970.
    var now: MessageTimestamp {
        MessageTimestamp(stored: UInt64(max(0, Date().timeIntervalSince1970 * 1000)))
    }
}
