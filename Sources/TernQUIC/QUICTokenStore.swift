// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import DequeModule
internal import NIOCore
internal import Synchronization

/// The tokens that servers gave a client (RFC 9000, section 8.1.3), for its next connections to them.
///
/// Each is used once, so that nobody can tell by it that two connections are of one client (RFC 9000, section 8.1.4).
final class QUICTokenStore: Sendable {
    /// A token is shown to the server that gave it, and to no other.
    struct Server: Hashable, Sendable {
        var address: SocketAddress
        var name: String
    }

    private struct State {
        var tokens: [Server: Deque<[UInt8]>] = [:]
        /// The servers by age: the one that gave us a token first is forgotten first.
        var servers: Deque<Server> = []
    }

    private let state = Mutex(State())

    /// Keeps a token.
    func add(_ token: [UInt8], of server: Server) {
        guard !token.isEmpty else { return }
        self.state.withLock { state in
            // A frame that seemed lost comes twice; the token is good once.
            if state.tokens[server]?.contains(token) == true { return }
            if state.tokens[server] == nil {
                if state.servers.count == Self.maximumServers, let oldest = state.servers.popFirst() {
                    state.tokens[oldest] = nil
                }
                state.servers.append(server)
            }
            state.tokens[server, default: []].append(token)
            if state.tokens[server]?.count ?? 0 > Self.tokensPerServer { state.tokens[server]?.removeFirst() }
        }
    }

    /// Takes the newest token out; empty if there is none.
    func take(for server: Server) -> [UInt8] {
        self.state.withLock { state in
            guard let token = state.tokens[server]?.popLast() else { return [] }
            if state.tokens[server]?.isEmpty == true {
                state.tokens[server] = nil
                state.servers.removeAll { $0 == server }
            }
            return token
        }
    }

    /// Tokens that are kept.
    var count: Int {
        self.state.withLock { state in state.tokens.values.reduce(0) { $0 + $1.count } }
    }

    static let maximumServers = 256
    /// As many connections to one server as are worth having at once.
    static let tokensPerServer = 4
}
