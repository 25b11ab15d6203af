// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import ChildProcesses
import Foundation
import NIOCore

/// The conversation and the faults that strike it. Faults come when enough was acknowledged, never at a time.
struct Exchange {
    /// What a child process did.
    private enum Happening: Sendable {
        case senderPrinted(Int, TernCommand.Event, ContinuousClock.Instant)
        case receiverPrinted(Int, TernCommand.Event)
        case ended(String, Int32)
    }

    private enum Phase {
        case undisturbed
        case serverWasKilled
        case udpIsBlocked
    }

    /// A fault, and how far the conversation was at that moment.
    struct Fault {
        let time: ContinuousClock.Instant
        let acknowledged: [Int]
    }

    private(set) var directions: [Direction]
    private(set) var started = ContinuousClock.now
    private(set) var finished = ContinuousClock.now
    private(set) var kill: Fault?
    private(set) var readyAgain: ContinuousClock.Instant?
    private(set) var block: Fault?
    private(set) var serverExitCode: Int32 = -1
    let relay: Relay

    private let tern: TernCommand
    private let progress: Progress
    private let caFile: String
    private var server: ChildProcess
    private let serverAddress: String
    private var phase = Phase.undisturbed
    private var feeders: [Feeder] = []

    /// Starts the server and the relay in front of it.
    init(tern: TernCommand, texts: [Text], progress: Progress, loop: any EventLoop) async throws {
        let names = ["ann", "bob"]
        self.tern = tern
        self.progress = progress
        self.directions = zip(texts.indices, texts).map { index, text in
            Direction(sender: names[index], receiver: names[1 - index], text: text)
        }
        try tern.makeSecret()
        let (server, ready) = try await tern.serve(listen: "127.0.0.1:0")
        guard let address = ready.quic, ready.tls == address, let caFile = ready.caFile,
            let port = address.split(separator: ":").last.flatMap({ Int($0) })
        else { throw DemoError("the ready line lacks an address or the CA file") }
        self.server = server
        self.serverAddress = address
        self.caFile = caFile
        self.relay = try await Relay.start(
            forwardingTo: SocketAddress(ipAddress: "127.0.0.1", port: port), on: loop)
        progress.say("server at \(address) (QUIC and TLS), data in \(tern.data.path)")
        progress.say("relay at 127.0.0.1:\(self.relay.address.port ?? 0); every client goes through it")
    }

    mutating func run() async throws {
        let (happenings, reports) = AsyncStream.makeStream(of: Happening.self)
        self.started = .now
        for index in self.directions.indices { try await self.startPair(index, reports: reports) }
        var running = 2 * self.directions.count
        for await happening in happenings {
            switch happening {
            case .senderPrinted(let index, let event, let time):
                self.directions[index].senderPrinted(event, at: time)
                if event.event == "connected" {
                    self.progress.say(
                        "\(self.directions[index].sender) is connected over \(event.carrier ?? "?"): \(event.reason ?? "")"
                    )
                }
                try await self.strikeIfDue()
            case .receiverPrinted(let index, let event):
                self.directions[index].receiverPrinted(event)
            case .ended(let name, let code):
                guard code == 0 else {
                    throw DemoError("\(name) ended with code \(code); see \(self.tern.log(name).path)")
                }
                running -= 1
            }
            self.progress.show(self.directions.map(\.acknowledgements.count), self.directions.map(\.receivedLines))
            if running == 0 { break }
        }
        self.finished = .now
        self.server.send(signal: SIGTERM)
        self.serverExitCode = await self.server.exitCode()
        try await self.relay.stop()
    }

    /// One user's sender and the other's receiver.
    private mutating func startPair(_ index: Int, reports: AsyncStream<Happening>.Continuation) async throws {
        let direction = self.directions[index]
        let port = self.relay.address.port ?? 0
        let receiver = try self.tern.client(
            "tail", name: "tail-\(direction.receiver)", token: try await self.tern.token(user: direction.receiver),
            server: "127.0.0.1:\(port)", caFile: self.caFile,
            arguments: ["--with", direction.sender, "--from", "1", "--count", "\(2 * direction.text.lines.count)"])
        let feeder = Feeder(text: direction.text)
        self.feeders.append(feeder)
        let sender = try self.tern.client(
            "send", name: "send-\(direction.sender)", token: try await self.tern.token(user: direction.sender),
            server: "127.0.0.1:\(port)", caFile: self.caFile, arguments: ["--to", direction.receiver],
            input: feeder.input)
        feeder.feedUntilKill()

        let tern = self.tern
        Self.follow(receiver, reports: reports) { .receiverPrinted(index, try tern.event(of: $0)) }
        Self.follow(sender, reports: reports) { .senderPrinted(index, try tern.event(of: $0), $0.time) }
    }

    private static func follow(
        _ child: ChildProcess, reports: AsyncStream<Happening>.Continuation,
        _ understood: @escaping @Sendable (ChildProcess.Line) throws -> Happening
    ) {
        Task {
            for await line in child.lines {
                guard let happening = try? understood(line) else {
                    reports.yield(.ended(child.name, -1))
                    return
                }
                reports.yield(happening)
            }
            reports.yield(.ended(child.name, await child.exitCode()))
        }
    }

    /// The server is killed when both directions are a third through, UDP blocked when both are two thirds through.
    private mutating func strikeIfDue() async throws {
        let acknowledged = self.directions.map(\.acknowledgements.count)
        let lines = self.directions[0].text.lines.count
        switch self.phase {
        case .undisturbed where acknowledged.allSatisfy { $0 >= lines / 3 }:
            self.phase = .serverWasKilled
            try await self.killServer(acknowledged)
            for feeder in self.feeders { feeder.feedUntilBlock() }
        case .serverWasKilled where acknowledged.allSatisfy { $0 >= 2 * lines / 3 }:
            self.phase = .udpIsBlocked
            self.relay.blockUDP()
            self.block = Fault(time: .now, acknowledged: acknowledged)
            self.progress.say("UDP is blocked from now on, after \(acknowledged) acks")
            for feeder in self.feeders { feeder.feedRest() }
        case .undisturbed, .serverWasKilled, .udpIsBlocked: break
        }
    }

    private mutating func killServer(_ acknowledged: [Int]) async throws {
        self.server.send(signal: SIGKILL)
        self.kill = Fault(time: .now, acknowledged: acknowledged)
        let code = await self.server.exitCode()
        self.progress.say("the server was killed with SIGKILL (exit code \(code)) after \(acknowledged) acks")
        (self.server, _) = try await self.tern.serve(listen: self.serverAddress)
        self.readyAgain = .now
        self.progress.say("the server is ready again, at the same address, on the same data")
    }
}
