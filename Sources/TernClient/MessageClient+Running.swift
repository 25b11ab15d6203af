// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernMessages
internal import TernTransport

/// Connections, one after another.
extension MessageClient {
    /// Keeps the client connected until ``close(timeout:)``. Call it once, in a task of its own.
    ///
    /// - Throws: ``ClientError`` when the server refuses the token, or when ``ReconnectPolicy`` gives up; or `CancellationError`.
    public func run() async throws {
        guard case .idle = self.phase else { return try self.checkOpen() }
        self.phase = .running
        do {
            try await self.keepConnected()
            self.end(nil)
        } catch let error as ClientError {
            self.end(error)
            throw error
        } catch {
            self.end(ClientError(.closed, message: "the client was cancelled"))
            throw error
        }
    }

    private func keepConnected() async throws {
        let policy = self.configuration.reconnecting
        var attempt = 0
        var hasConnected = false
        var lostAt = ContinuousClock.now
        var reason: any Error = ClientError(.unreachable, message: "the server did not answer")
        while self.isOpen {
            // The first connection takes what time its maker gives it.
            let deadline = hasConnected ? policy.giveUpAfter.map { lostAt + $0 } : nil
            do {
                let link = try await self.openLink(before: deadline)
                hasConnected = true
                attempt = 0
                reason = await self.serve(link)
                lostAt = .now
            } catch is Overdue {
                // What ended the connection, or the attempt before, says more.
            } catch {
                reason = error
            }
            try Task.checkCancellation()
            guard self.isOpen else { return }
            if let final = self.finalError(reason, hasConnected: hasConnected, unconnectedFor: .now - lostAt) {
                throw final
            }
            var delay = policy.delay(beforeAttempt: attempt, random: .random(in: 0..<1))
            if hasConnected, let limit = policy.giveUpAfter { delay = min(delay, lostAt + limit - .now) }
            attempt += 1
            self.queue.append(.disconnected("\(reason)".printable(), retryingAfter: delay))
            await self.rest(for: delay)
        }
    }

    private func finalError(_ reason: any Error, hasConnected: Bool, unconnectedFor: Duration) -> ClientError? {
        let policy = self.configuration.reconnecting
        if let error = reason as? ClientError, error.code == .authenticationRefused { return error }
        let text = Self.words(reason)
        if !hasConnected, !policy.retriesFirstConnection {
            return (reason as? ClientError) ?? ClientError(.unreachable, message: text)
        }
        guard let limit = policy.giveUpAfter, unconnectedFor >= limit else { return nil }
        return ClientError(.unreachable, message: "there was no connection for \(limit): \(text)")
    }

    private static func words(_ reason: any Error) -> String {
        let message =
            switch reason {
            case let error as TransportError: error.message
            case let error as ClientError: error.message
            default: ""
            }
        return (message.isEmpty ? "\(reason)" : message).printable()
    }

    /// There is no time left for another connection.
    private struct Overdue: Error {}

    /// Connects and authenticates.
    ///
    /// - Throws: ``Overdue`` when there is no connection by `deadline`, or why there is none.
    private func openLink(before deadline: ContinuousClock.Instant?) async throws -> Link {
        guard let deadline else { return try await Link.open(try await self.connect(), self.configuration) }
        return try await withThrowingTaskGroup(of: Link?.self) { group in
            group.addTask { try await Link.open(try await self.connect(), self.configuration) }
            group.addTask {
                try await Task.sleep(until: deadline, clock: .continuous)
                return nil
            }
            defer { group.cancelAll() }
            if let link = try await group.next() ?? nil { return link }
            group.cancelAll()
            // It may have come in the last moment: then nobody else would close it.
            guard let late = try? await group.next(), let link = late else { throw Overdue() }
            return link
        }
    }

    private func rest(for delay: Duration) async {
        guard delay > .zero else { return }
        let pause = Task<Void, Never> { try? await Task.sleep(for: delay) }
        self.pause = pause
        await withTaskCancellationHandler {
            await pause.value
        } onCancel: {
            pause.cancel()
        }
    }

    /// Uses a connection until it ends.
    ///
    /// - Returns: why it ended.
    private func serve(_ link: Link) async -> any Error {
        self.begin(link)
        let reason = await self.runTasks(of: link)
        link.requests.end(reason)
        await link.connection.close()
        self.forget(link)
        return reason
    }

    private func begin(_ link: Link) {
        self.link = link
        self.outbox.connectionChanged()
        self.health = LinkHealth(self.configuration.liveness, now: .now)
        for channel in self.logs.keys { self.logs[channel]?.connectionChanged() }
        self.receipts.connectionChanged()
        self.queue.append(
            .connected(
                ConnectionSummary(
                    carrier: link.connection.carrier, user: link.answer.user, userName: link.answer.userName,
                    device: link.answer.device, deviceName: link.answer.deviceName, serverName: link.answer.serverName,
                    durability: link.answer.durability)))
        for receiver in self.outbox.receiversToServe { link.post(.send(to: receiver)) }
        let waiters = self.linkWaiters
        self.linkWaiters = []
        for waiter in waiters { waiter.resume(returning: link) }
    }

    func forget(_ link: Link) {
        if self.link === link { self.link = nil }
    }

    nonisolated private func runTasks(of link: Link) async -> any Error {
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await link.requests.run() }
                group.addTask { try await self.readControl(of: link) }
                group.addTask { try await self.readPushes(of: link) }
                group.addTask { try await self.readDatagrams(of: link) }
                group.addTask { try await self.sendReceipts(on: link) }
                group.addTask { try await self.watchForAnswers(on: link) }
                group.addTask { try await self.catchUp(on: link) }
                group.addTask { try await self.executeCommands(of: link) }
                defer { group.cancelAll() }
                while try await group.next() != nil {}
            }
            return ClientError(.closed, message: "the connection was closed")
        } catch {
            return error
        }
    }

    nonisolated private func executeCommands(of link: Link) async throws {
        // A child that fails does not interrupt the body of its group: it ends the commands, for which the body waits.
        try await withThrowingDiscardingTaskGroup { group in
            for try await command in link.commands {
                switch command {
                case .send(let receiver):
                    guard let signals = link.claimSender(of: receiver) else { continue }
                    group.addTask {
                        await link.failing { try await self.sendMessages(to: receiver, on: link, signals: signals) }
                    }
                case .read(let channel):
                    group.addTask { await link.failing { try await self.readGap(of: channel, on: link) } }
                }
            }
        }
    }

    nonisolated private func watchForAnswers(on link: Link) async throws {
        let liveness = self.configuration.liveness
        let interval = min(liveness.busyPingInterval, liveness.pingTimeout, liveness.idlePingInterval) / 4
        var sequence = MessageSequence.zero
        while true {
            try await Task.sleep(for: interval)
            switch await self.checkHealth() {
            case .wait:
                continue
            case .ping:
                sequence = sequence.next
                let ping = Message(type: .ping, sender: .server, receiver: .server, sequence: sequence)
                try await link.control.write(try ping.encoded())
            case .dead(let reason):
                throw ClientError(.timedOut, message: reason)
            }
        }
    }

    private func checkHealth() -> LinkHealth.Verdict {
        self.health.check(at: .now)
    }

    /// Anything came over `link`.
    func heard(on link: Link) {
        guard self.link === link else { return }
        self.health.heard(at: .now)
    }
}
