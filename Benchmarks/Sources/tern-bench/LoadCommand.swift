// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import BenchSupport
internal import Foundation
internal import Synchronization
internal import Tern
internal import TernMessages

/// Keeps a server of ours busy for a while, for a profiler to look at.
struct LoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Keep a server busy: bulk, echo, handshakes or durable.",
        discussion:
            "Prints the number of the server's process when it is busy. The load is that of the workload of this name.")

    @Argument(help: "bulk, echo, handshakes or durable.")
    var workload: LoadKind

    @Option(help: "What clients connect over: quic or tls.")
    var carrier: BenchmarkCarrier = .quic

    @Option(help: "How long the server is kept busy.")
    var seconds: Double = 15

    @Option(help: ArgumentHelp("Where the files of the workload are while it runs.", valueName: "directory"))
    var scratch: String

    func validate() throws {
        guard self.seconds > 0, self.seconds <= 3_600 else { throw ValidationError("--seconds takes 1 to 3600") }
        guard self.workload != .handshakes || self.carrier == .quic else {
            throw ValidationError("handshakes are measured over quic only")
        }
    }

    func run() throws {
        ChildProcess.heedInterruptions()
        let place = "\(self.scratch)/load-\(ProcessInfo.processInfo.processIdentifier)"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: place) }
        let stage = Stage(scratch: place, tick: {})
        let server = try stage.start(try self.server(on: stage), name: "load-server")
        let address: ServerAddress = try stage.answer(of: server)

        let end = ContinuousClock.now + .seconds(self.seconds)
        var wasTold = false
        while ContinuousClock.now < end, !ChildProcess.isInterrupted.load(ordering: .relaxed) {
            let client = try stage.start(self.client(of: address), name: "load-client")
            if !wasTold { try tell(["server": Int(server.processID)]) }
            wasTold = true
            _ = try client.output(within: .seconds(self.seconds) + Stage.patience)
        }
        _ = try server.stop(.closingInput)
    }

    private func server(on stage: Stage) throws -> Role {
        switch self.workload {
        case .bulk: .bulkServer(BulkServer(file: try sparseFile(Self.fileSize, in: stage.scratch), sizes: BulkSizes()))
        case .echo: .echoServer
        case .handshakes: .idleServer(IdleServer(carrier: self.carrier))
        case .durable: .messageServer(MessageServerRole(directory: "\(stage.scratch)/store"))
        }
    }

    private func client(of server: ServerAddress) -> Role {
        switch self.workload {
        case .bulk: .bulkClient(BulkClient(server: server, carrier: self.carrier, sizes: BulkSizes()))
        case .echo: .echoClient(EchoClient(server: server, carrier: self.carrier, roundTrips: 50_000))
        case .handshakes:
            .handshakeClient(
                HandshakeClient(
                    server: server, applicationProtocol: IdleServer.applicationProtocol.quic, count: 2_000))
        case .durable: .messageClients(MessageClients(server: server, carrier: self.carrier, seconds: self.seconds))
        }
    }

    private static let fileSize = 1 << 30
}

enum LoadKind: String, ExpressibleByArgument {
    case bulk, echo, handshakes, durable
}

extension BenchmarkCarrier: ExpressibleByArgument {}
