// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Logging
import MessageJudgementSupport
import NIOCore
import Tern
import TernClient
import TernMessages
import TernStore

/// Message clients over real carriers against a real server, which is killed, drained and started again while a relay between them
/// cuts, delays and loses what they say; and a judgement of what everybody has in the end.
///
/// The plan is made from a seed. What processes and sockets make of it is different every time.
package struct MessageTrial: Sendable {
    /// What came of it.
    package struct Outcome: Sendable {
        package var failures: [String]
        /// Where logs and data are, when something failed.
        package var directory: String?
        package var messages = 0
        package var starts = 0
        package var connects = 0

        package var summary: String {
            "\(self.messages) messages, \(self.starts) starts of the server, \(self.connects) connections asked for"
        }
    }

    private let options: TrialOptions
    private let plan: TrialPlan
    private let directory: URL
    private let tell: @Sendable (String) -> Void

    /// Runs a trial. Nothing of it is left afterwards, but for logs and data when something failed.
    ///
    /// - Parameter tell: hears how far it is.
    package static func run(
        _ options: TrialOptions, tell: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> Outcome {
        let directory = FileManager.default.temporaryDirectory.appending(path: "tern-message-trial-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let trial = MessageTrial(
            options: options, plan: TrialPlan(options), directory: directory, tell: tell)
        var outcome: Outcome
        do {
            outcome = try await trial.run()
        } catch {
            outcome = Outcome(failures: ["\(error)"])
        }
        if outcome.failures.isEmpty {
            try? FileManager.default.removeItem(at: directory)
        } else {
            outcome.directory = directory.path
            let text = outcome.failures.joined(separator: "\n") + "\n"
            try? Data(text.utf8).write(to: directory.appending(path: "failures.txt"))
        }
        return outcome
    }

    private func run() async throws -> Outcome {
        let server = TrialServer(directory: self.directory, durability: self.plan.durability)
        let relay = try await TrialRelay.start(seed: self.options.seed)
        do {
            let outcome = try await self.run(server, relay)
            await server.stop()
            await relay.stop()
            return outcome
        } catch {
            await server.stop()
            await relay.stop()
            throw error
        }
    }

    private func run(_ server: TrialServer, _ relay: TrialRelay) async throws -> Outcome {
        let names = try await self.registerEverybody(in: server.data)
        relay.serve(try await server.start(.command))
        let board = TrialBoard()
        let people = try self.makeDevices(names, board, server, relay)
        let devices = people.flatMap { $0 }
        let running = Task {
            await withDiscardingTaskGroup { group in
                for device in devices {
                    group.addTask {
                        guard (try? await Task.sleep(for: device.plan.start)) != nil else { return }
                        await device.run()
                    }
                }
            }
        }
        defer { running.cancel() }
        try await self.liveAndDisturb(people, board, server, relay)
        self.tell("settling")
        var failures = await TrialRest(devices: devices, board: board, relay: relay, tell: self.tell).settle()
        let states = await Self.states(of: devices)
        failures += await self.close(devices)
        running.cancel()
        _ = await running.value
        await server.drain()
        failures += await server.failures
        self.tell("judging")
        let store = try SQLiteMessageStore(directory: server.data.path, logger: .silent)
        let verdict = try await TrialJudgement(store: store, board: board, people: people, states: states).judge()
        await store.close()
        failures += verdict
        return Outcome(
            failures: failures, messages: board.messages.count, starts: await server.starts,
            connects: devices.map(\.attemptCount).reduce(0, +))
    }

    // MARK: Beginning

    /// Everybody has a number before they come.
    private func registerEverybody(in data: URL) async throws -> [[DeviceKey]] {
        let store = try SQLiteMessageStore(directory: data.path, logger: .silent)
        var keys: [[DeviceKey]] = []
        for person in self.plan.people {
            var own: [DeviceKey] = []
            for device in person {
                let user = try await store.registerUser(named: device.user)
                own.append(
                    DeviceKey(user: user, device: try await store.registerDevice(named: device.device, of: user)))
            }
            keys.append(own)
        }
        await store.close()
        return keys
    }

    private func makeDevices(
        _ keys: [[DeviceKey]], _ board: TrialBoard, _ server: TrialServer, _ relay: TrialRelay
    ) throws -> [[TrialDevice]] {
        let trust = try TLSTrust.certificateAuthorities(file: server.certificateAuthority)
        guard let port = relay.address.port else { throw TrialError("the relay has no port") }
        let endpoint = try Endpoint(host: "127.0.0.1", port: port)
        return try zip(self.plan.people, keys).map { plans, keys in
            try zip(plans, keys).map { plan, key in
                guard let user = UserID(rawValue: key.user), let device = DeviceID(rawValue: key.device) else {
                    throw TrialError("\(key) is nobody")
                }
                return try TrialDevice(
                    plan, user: user, device: device, board: board, server: endpoint, trust: trust)
            }
        }
    }

    // MARK: Happening

    private func liveAndDisturb(
        _ people: [[TrialDevice]], _ board: TrialBoard, _ server: TrialServer, _ relay: TrialRelay
    ) async throws {
        let life = TrialLife(board: board, people: people, end: self.options.time)
        let limit = self.options.time + TrialServer.patience
        let waits = try await withThrowingTaskGroup(of: [String].self) { group in
            group.addTask {
                try await self.live(life, people, board, server, relay)
                return []
            }
            group.addTask {
                guard (try? await Task.sleep(for: limit)) != nil else { return [] }
                return people.flatMap { $0 }.map { "\($0.plan.name): \($0.unansweredCount) unanswered, \($0.waits)" }
            }
            defer { group.cancelAll() }
            return try await group.next() ?? []
        }
        if !waits.isEmpty { throw TrialError("some wait after \(limit): \(waits)") }
    }

    private func live(
        _ life: TrialLife, _ people: [[TrialDevice]], _ board: TrialBoard, _ server: TrialServer, _ relay: TrialRelay
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, person) in people.enumerated() {
                group.addTask { await life.live(as: number, seed: self.plan.personSeeds[number]) }
                for device in person {
                    group.addTask {
                        guard (try? await Task.sleep(for: device.plan.start)) != nil else { return }
                        await life.live(on: device)
                    }
                }
            }
            group.addTask { try await self.disturb(board, server, relay) }
            try await group.waitForAll()
        }
    }

    private func disturb(_ board: TrialBoard, _ server: TrialServer, _ relay: TrialRelay) async throws {
        for (moment, fault) in self.plan.faults {
            let wait = moment - board.now
            if wait > .zero { try await Task.sleep(for: wait) }
            guard board.now < self.options.time else { break }
            self.tell("\(board.now): \(fault)")
            switch fault {
            case .disturb(let disturbance): relay.disturb(disturbance)
            case .kill(let down, let kind):
                await server.kill()
                try await self.restart(server, kind, after: down, relay)
            case .drain(let down, let kind):
                await server.drain()
                try await self.restart(server, kind, after: down, relay)
            }
        }
        relay.disturb(.weather(delay: .milliseconds(1), jitter: .zero, loss: 0))
    }

    private func restart(
        _ server: TrialServer, _ kind: TrialServer.Kind, after down: Duration, _ relay: TrialRelay
    ) async throws {
        relay.serve(nil)
        try await Task.sleep(for: down)
        relay.serve(try await server.start(kind))
    }

    // MARK: Ending

    /// What the server says of every channel, in the index and alone.
    private static func states(of devices: [TrialDevice]) async -> [[(index: ChannelState, alone: ChannelState)]] {
        var all: [[(index: ChannelState, alone: ChannelState)]] = []
        for device in devices {
            var states: [(index: ChannelState, alone: ChannelState)] = []
            if case .answer(let index) = await device.insist("the index", { try await $0.channels() }) {
                for state in index {
                    let answer = await device.insist("a state") { try await $0.channelState(state.channel) }
                    guard case .answer(let alone) = answer else { continue }
                    states.append((state, alone))
                }
            }
            all.append(states)
        }
        return all
    }

    /// Clients that have everything end when they are told to.
    private func close(_ devices: [TrialDevice]) async -> [String] {
        await withTaskGroup(of: String?.self) { group in
            for device in devices {
                group.addTask {
                    await device.client.close(timeout: .seconds(10))
                    return await device.ends(within: .seconds(30))
                        ? nil : "\(device.plan.name): it was closed, and goes on"
                }
            }
            return await group.reduce(into: []) { failures, failure in if let failure { failures.append(failure) } }
        }
    }
}

extension Logger {
    static var silent: Logger { Logger(label: "trial") { _ in SwiftLogNoOpLogHandler() } }
}
