// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import NIOCore
internal import Tern

/// What this program does when it was started by itself, as one end of a trial.
enum EndRole: Codable {
    case server(LabServer)
    case client(LabClient)

    func play() async throws {
        switch self {
        case .server(let server): try await server.play()
        case .client(let client):
            exitWhenInputEnds()
            try await client.play()
        }
    }
}

/// What the server prints when clients can connect.
struct ServerReady: Codable {
    var port: Int
    /// What clients trust, PEM.
    var certificateAuthority: String
}

/// What the client prints.
enum ClientWord: Codable {
    /// The measurement begins, and with it the script of the network. Not said when the work fails before.
    case started
    case done(ClientResult)
}

/// What came of the client's work.
struct ClientResult: Codable {
    var values: [String: Double] = [:]
    var failure: String?
    var latenciesMicroseconds: [Int]?
    /// Seconds per value, and what arrived in each step.
    var timelineStep: Double?
    var timelineUnit: String?
    var timeline: [Double]?
    var events: [ClientEvent] = []
}

struct ClientEvent: Codable {
    /// Seconds after the start of the measurement.
    var at: Double
    var isOfTransport: Bool
    var text: String
}

/// How a client of ours connects.
enum LabCarrier: String, Codable, CaseIterable {
    case quic
    case tls
    case auto

    var policy: ConnectionPolicy {
        var policy =
            switch self {
            case .quic: ConnectionPolicy(.quicOnly)
            case .tls: ConnectionPolicy(.tcpOnly)
            case .auto: ConnectionPolicy(.preferQUIC)
            }
        // An application that has something to send does not wait longer.
        policy.timeout = .seconds(5)
        return policy
    }
}

extension ApplicationProtocol {
    static let lab = ApplicationProtocol("tern-lab")
}

/// What a client asks of the server at the beginning of a stream: ten bytes.
struct StreamRequest {
    enum Command: UInt8 {
        /// What follows comes back.
        case echo = 0x45
        /// As many bytes as ``count`` come back, and the end.
        case download = 0x44
        /// Messages that follow go to all subscribers.
        case publish = 0x50
        /// Whatever is published comes back.
        case subscribe = 0x53
    }

    static let byteCount = 10

    var command: Command
    /// How urgent the server's bytes are.
    var urgency = StreamPriority.normal.urgency
    var count: UInt64 = 0

    var bytes: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(self.command.rawValue)
        buffer.writeInteger(self.urgency)
        buffer.writeInteger(self.count)
        return buffer
    }

    init(_ command: Command, urgency: UInt8 = StreamPriority.normal.urgency, count: UInt64 = 0) {
        (self.command, self.urgency, self.count) = (command, urgency, count)
    }

    /// `nil`: more bytes are needed.
    init?(reading buffer: inout ByteBuffer) throws {
        guard buffer.readableBytes >= Self.byteCount else { return nil }
        guard let command = buffer.readInteger(as: UInt8.self).flatMap(Command.init(rawValue:)),
            let urgency = buffer.readInteger(as: UInt8.self), let count = buffer.readInteger(as: UInt64.self)
        else { throw BenchmarkError("a stream begins with an unknown command") }
        self.init(command, urgency: urgency, count: count)
    }
}
