// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQUICCore

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// When clients must prove their address, and the replies that cost no connection.
struct QUICAddressValidator {
    let policy: QUICServerOptions.AddressValidation
    let tokens: QUICAddressTokens

    /// What to do with a client's first packet.
    enum Decision {
        /// Open a connection.
        case accept(QUICInitial)
        /// The client must show first that it receives what is sent to its address.
        case retry
        /// The client shows a Retry token that does not hold.
        case refuse
    }

    init(options: QUICServerOptions, secret: QUICResetSecret) {
        self.policy = options.addressValidation
        self.tokens = QUICAddressTokens(secret: secret, lifetime: options.tokenLifetime)
    }

    func decide(
        _ initial: QUICInitial, from remote: SocketAddress, load: QUICServerLoad, now: NIODeadline
    ) -> Decision {
        var initial = initial
        switch self.tokens.evidence(in: initial, from: remote, wallTime: Self.wallTime) {
        case .badRetryToken: return .refuse
        case .proven(.token) where !load.use(token: initial.token): break
        case .proven(let validation):
            initial.validation = validation
            return .accept(initial)
        case .none: break
        }
        switch self.policy {
        case .never: return .accept(initial)
        case .always: return .retry
        case .underLoad: return load.isHigh(now: now) ? .retry : .accept(initial)
        }
    }

    /// A token for the client's next connection; `nil` if tokens are of no use.
    func token(for remote: SocketAddress) -> [UInt8]? {
        guard self.policy != .never else { return nil }
        let token = self.tokens.token(for: remote, wallTime: Self.wallTime)
        return token.isEmpty ? nil : token
    }

    /// The time since 1970: tokens outlive the process, so its uptime is of no use to them.
    static var wallTime: TimeAmount {
        var time = timespec()
        guard clock_gettime(CLOCK_REALTIME, &time) == 0 else { return .zero }
        return .seconds(Int64(time.tv_sec)) + .nanoseconds(Int64(time.tv_nsec))
    }
}

// MARK: Replies without a connection

extension QUICServerEndpoint {
    /// Asks the client to come again with a token.
    func sendRetry(for initial: QUICInitial, path: QUICPath, now: NIODeadline) {
        guard self.retries.take(now: now) else {
            self.counters.repliesWithheld += 1
            return
        }
        let isSent = self.reply(over: path, capacity: 256) { buffer in
            self.validator.tokens.retry(
                initial, from: self.core.makeConnectionID(), to: path.remote, wallTime: QUICAddressValidator.wallTime,
                into: buffer)
        }
        if isSent { self.counters.retries += 1 }
    }

    /// Tells the client that its token is of no use, or that nobody is taken on any more, so that it does not wait.
    func refuse(
        _ initial: QUICInitial, code: UInt64 = QUICAddressTokens.invalidToken, path: QUICPath, now: NIODeadline
    ) {
        guard self.replies.take(now: now) else {
            self.counters.repliesWithheld += 1
            return
        }
        let isSent = self.reply(over: path, capacity: 256) {
            self.validator.tokens.refuse(initial, code: code, into: $0)
        }
        if isSent { self.counters.refusals += 1 }
    }

    func resetStatelessly(_ datagram: UnsafeRawBufferPointer, path: QUICPath, now: NIODeadline) {
        guard self.replies.take(now: now) else {
            self.counters.repliesWithheld += 1
            return
        }
        let isSent = self.reply(over: path, capacity: 128) { self.core.statelessReset(for: datagram, into: $0) }
        if isSent { self.counters.statelessResets += 1 }
    }

    func refuseVersion(_ reply: ByteBuffer, path: QUICPath, now: NIODeadline) {
        guard self.replies.take(now: now) else {
            self.counters.repliesWithheld += 1
            return
        }
        reply.withUnsafeReadableBytes { self.socket?.sendUnconnected($0, path: path) }
        self.counters.versionNegotiations += 1
    }

    /// - Parameter write: returns how many bytes it wrote; 0 to send nothing.
    private func reply(
        over path: QUICPath, capacity: Int, _ write: (UnsafeMutableRawBufferPointer) -> Int
    ) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 1) { buffer in
            let count = write(buffer)
            guard count > 0, count <= buffer.count, let socket else { return false }
            socket.sendUnconnected(UnsafeRawBufferPointer(rebasing: buffer[..<count]), path: path)
            return true
        }
    }

    /// Gives a client that is established a token for its next connection.
    func giveToken(to connection: QUICConnection) {
        guard let token = self.validator.token(for: connection.core.path.remote) else { return }
        connection.core.submit(token: token)
        connection.schedulePump()
    }
}
