// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import NIOCore
internal import Tern

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

extension Workload {
    static let bulk = Workload(
        name: "bulk",
        summary: {
            """
            A file of \($0.bulkBytes >> 20) MiB over one stream, from a server process to a client process on loopback; \
            Tern's default limits and options, but that `tern-quic-1452` keeps to the packet size of other paths
            """
        },
        contenders: { profile in
            [
                Contender(name: "tern-quic", expectedSeconds: 4) { try $0.transfer(profile.bulkBytes, over: .quic) },
                Contender(name: "gtls", expectedSeconds: 5, missing: GtlsPair.missing) {
                    try $0.transferByGtls(profile.bulkBytes)
                },
                Contender(name: "tern-quic-1452", expectedSeconds: 4) {
                    try $0.transfer(profile.bulkBytes, over: .quic, sizes: BulkSizes(sameHostPayload: 0))
                },
                Contender(name: "nginx-curl", expectedSeconds: 3, missing: NginxPair.missing) {
                    try $0.transferByNginx(profile.bulkBytes)
                },
                Contender(name: "tern-tls", expectedSeconds: 3) { try $0.transfer(profile.bulkBytes, over: .tls) },
                Contender(name: "tern-tls-memory", expectedSeconds: 3) {
                    try $0.transfer(profile.bulkBytes, over: .tls, fromMemory: true)
                },
                Contender(name: "gnutls-loop", expectedSeconds: 2) { try $0.transferByRecords(profile.bulkBytes) },
            ]
        },
        columns: [
            Column(title: "MB/s of process", key: "processMBps", decimals: 0),
            Column(title: "MB/s of transfer", key: "transferMBps", decimals: 0),
            Column(title: "client CPU s/GB", key: "clientCPUSecondsPerGB", decimals: 2),
            Column(title: "server CPU s/GB", key: "serverCPUSecondsPerGB", decimals: 2),
        ],
        ratios: [
            Ratio(
                key: "processMBps", of: "tern-quic", to: "gtls", goal: "bulk, one QUIC stream, against gtls",
                bound: .atLeast(2)),
            Ratio(
                key: "processMBps", of: "tern-quic-1452", to: "gtls",
                goal: "the same with packets of the same size as gtls'"),
            Ratio(
                key: "processMBps", of: "tern-quic", to: "nginx-curl",
                goal: "bulk, one QUIC stream, against nginx -> curl",
                bound: .atLeast(0.9)),
            Ratio(
                key: "clientCPUSecondsPerGB", of: "tern-quic", to: "nginx-curl",
                goal: "CPU of the client, against curl",
                bound: .atMost(1.3)),
            Ratio(
                key: "serverCPUSecondsPerGB", of: "tern-quic", to: "nginx-curl",
                goal: "CPU of the server, against nginx",
                bound: .atMost(1.3)),
            Ratio(
                key: "processMBps", of: "tern-tls", to: "gnutls-loop",
                goal: "bulk over QMux/TLS, against a bare GnuTLS record loop", bound: .atLeast(0.8)),
            Ratio(
                key: "processMBps", of: "tern-tls-memory", to: "gnutls-loop",
                goal: "the same from memory, as the loop sends"),
            Ratio(
                key: "serverCPUSecondsPerGB", of: "tern-tls-memory", to: "gnutls-loop"),
            Ratio(
                key: "clientCPUSecondsPerGB", of: "tern-tls-memory", to: "gnutls-loop"),
            Ratio(key: "processMBps", of: "tern-quic", to: "tern-tls"),
        ])

    /// Whether the library's default windows and watermarks hold a transfer back. The defaults take part twice: how far
    /// apart these two are is what the machine disturbs.
    static let bulkSizes = Workload(
        name: "bulk-sizes",
        summary: {
            "As bulk over QUIC, \($0.bulkBytes >> 20) MiB, with other flow-control windows and write watermarks"
        },
        contenders: { profile in
            let sizes: [(String, BulkSizes)] = [
                ("defaults", BulkSizes()),
                ("defaults-again", BulkSizes()),
                ("watermark-512K", BulkSizes(writeHighWatermark: 512 << 10)),
                ("watermark-1M", BulkSizes(writeHighWatermark: 1 << 20)),
                ("window-4M", BulkSizes(window: 4 << 20)),
            ]
            return sizes.map { name, sizes in
                Contender(name: name, expectedSeconds: 4) {
                    try $0.transfer(profile.bulkBytes, over: .quic, sizes: sizes)
                }
            }
        },
        columns: Workload.bulk.columns,
        ratios: ["defaults-again", "watermark-512K", "watermark-1M", "window-4M"].map {
            Ratio(key: "processMBps", of: $0, to: "defaults")
        },
        isOnRequest: true)

    fileprivate static let bulkProtocol = ApplicationProtocol("tern-bulk")
}

// MARK: What the contenders do

extension Stage {
    fileprivate func transfer(
        _ byteCount: Int, over carrier: BenchmarkCarrier, sizes: BulkSizes = BulkSizes(), fromMemory: Bool = false
    ) throws -> [String: Double] {
        var role = BulkServer(file: try sparseFile(byteCount, in: self.scratch), sizes: sizes)
        if fromMemory { role.byteCountFromMemory = byteCount }
        let server = try self.start(.bulkServer(role), name: "bulk-server")
        let address: ServerAddress = try self.answer(of: server)
        let client = try self.start(
            .bulkClient(BulkClient(server: address, carrier: carrier, sizes: sizes)), name: "bulk-client")
        let result: BulkClient.Result = try self.answer(of: client)
        let clientEnding = try client.finish(within: .seconds(20), whileWaiting: self.tick)
        let serverEnding = try server.stop(.closingInput)
        guard result.byteCount == byteCount else {
            throw BenchmarkError("\(result.byteCount) bytes of \(byteCount) arrived")
        }
        var values = Self.values(byteCount: byteCount, client: clientEnding, server: serverEnding)
        values["transferMBps"] = Double(byteCount) / 1e6 / result.transferSeconds
        values["handshakeMilliseconds"] = result.handshakeMilliseconds
        return values
    }

    fileprivate func transferByGtls(_ byteCount: Int) throws -> [String: Double] {
        let pair = try GtlsPair(self.foreignGround, identity: self.identityFiles().files)
        let fetch = try self.fetch(byteCount, through: pair)
        return Self.values(byteCount: byteCount, client: fetch.client, server: fetch.server)
    }

    fileprivate func transferByNginx(_ byteCount: Int) throws -> [String: Double] {
        let pair = try NginxPair(self.foreignGround, identity: self.identityFiles().files)
        let fetch = try self.fetch(byteCount, through: pair)
        return Self.values(byteCount: byteCount, client: fetch.client, server: fetch.server)
    }

    fileprivate func transferByRecords(_ byteCount: Int) throws -> [String: Double] {
        let identity = try self.identityFiles().files
        let server = try self.startPeer(["tls-server", identity.certificate, identity.key, "\(byteCount)"])
        let address: ServerAddress = try self.answer(of: server)
        let client = try self.startPeer(["tls-client", "\(address.port)"])
        let result: BulkClient.Result = try self.answer(of: client)
        let clientEnding = try client.finish(within: Self.patience, whileWaiting: self.tick)
        let serverEnding = try server.stop(.closingInput)
        guard result.byteCount == byteCount else {
            throw BenchmarkError("\(result.byteCount) bytes of \(byteCount) arrived")
        }
        var values = Self.values(byteCount: byteCount, client: clientEnding, server: serverEnding)
        values["transferMBps"] = Double(byteCount) / 1e6 / result.transferSeconds
        return values
    }

    private static func values(
        byteCount: Int, client: ChildProcess.Ending, server: ChildProcess.Ending
    ) -> [String: Double] {
        [
            "processMBps": Double(byteCount) / 1e6 / client.wallSeconds,
            "clientWallSeconds": client.wallSeconds,
            "clientCPUSecondsPerGB": client.cpuSeconds / Double(byteCount) * 1e9,
            "serverCPUSecondsPerGB": server.cpuSeconds / Double(byteCount) * 1e9,
            "clientMaximumResidentMiB": client.maximumResidentMiB,
            "serverMaximumResidentMiB": server.maximumResidentMiB,
        ]
    }
}

// MARK: What our processes do

/// What both ends keep in memory; `nil` is the library's default.
struct BulkSizes: Codable {
    /// For one stream; the connection's window is four times as large.
    var window: Int?
    var writeHighWatermark: Int?
    /// The largest packet inside a host; 0: as anywhere.
    var sameHostPayload: Int?

    var options: QUICOptions {
        var options = QUICOptions()
        if let sameHostPayload { options.sameHostUDPPayloadSize = sameHostPayload }
        return options
    }

    var limits: ConnectionLimits {
        var limits = ConnectionLimits()
        if let window {
            limits.streamWindow = window
            limits.connectionWindow = max(limits.connectionWindow, 4 * window)
        }
        if let writeHighWatermark {
            limits.writeHighWatermark = writeHighWatermark
            limits.writeLowWatermark = writeHighWatermark / 2
        }
        return limits
    }
}

/// Sends a file on every stream that a client opens.
struct BulkServer: Codable {
    var file: String
    var sizes: BulkSizes
    /// So many bytes of one buffer instead of the file.
    var byteCountFromMemory: Int?

    private static let chunk = 64 << 10

    func play() async throws {
        let descriptor = open(self.file, O_RDONLY)
        guard descriptor >= 0 else { throw BenchmarkError("cannot open \(self.file)") }
        defer { close(descriptor) }
        try await serve(Workload.bulkProtocol, limits: self.sizes.limits, quic: self.sizes.options) { connection in
            do {
                for try await stream in connection.inboundStreams {
                    while try await stream.read() != nil {}
                    if let count = self.byteCountFromMemory {
                        try await Self.send(count, on: stream)
                    } else {
                        try await Self.send(descriptor: descriptor, on: stream)
                    }
                }
            } catch {
                FileHandle.standardError.write(Data("a connection ended: \(error)\n".utf8))
            }
        }
    }

    private static func send(_ byteCount: Int, on stream: Tern.Stream) async throws {
        let bytes = ByteBuffer(repeating: 0, count: Self.chunk)
        for _ in 0..<(byteCount / Self.chunk) { try await stream.write(bytes) }
        try await stream.finish(ByteBuffer(repeating: 0, count: byteCount % Self.chunk))
    }

    private static func send(descriptor: Int32, on stream: Tern.Stream) async throws {
        // Memory that the library is done with is used again, as the other servers do.
        var buffers = Array(repeating: ByteBuffer(), count: 16)
        var (offset, turn) = (0, 0)
        while true {
            turn = (turn + 1) % buffers.count
            if buffers[turn].modifyIfUniquelyOwned({ (buffer: inout ByteBuffer) -> Void in buffer.clear() }) == nil {
                buffers[turn] = ByteBuffer()
            }
            let count = buffers[turn].writeWithUnsafeMutableBytes(minimumWritableBytes: Self.chunk) { memory in
                max(0, pread(descriptor, memory.baseAddress, Self.chunk, off_t(offset)))
            }
            guard count > 0 else { return try await stream.finish() }
            offset += count
            try await stream.write(buffers[turn])
        }
    }
}

/// Asks for the file and drops what comes.
struct BulkClient: Codable {
    var server: ServerAddress
    var carrier: BenchmarkCarrier
    var sizes: BulkSizes

    struct Result: Codable {
        var byteCount: Int
        /// From the first bytes that were read to the end of the stream.
        var transferSeconds: Double
        var handshakeMilliseconds: Double
    }

    func play() async throws {
        let connector = try makeConnector(
            to: self.server, over: self.carrier, Workload.bulkProtocol, limits: self.sizes.limits,
            quic: self.sizes.options)
        let (connection, report) = try await connector.race(to: self.server.endpoint)
        let stream = try await connection.openStream()
        try await stream.finish(ByteBuffer(string: "GET"))
        var byteCount = 0
        var first: ContinuousClock.Instant?
        while let bytes = try await stream.read() {
            if first == nil { first = .now }
            byteCount += bytes.readableBytes
        }
        let seconds = first.map { (ContinuousClock.now - $0).seconds } ?? 0
        await connection.close()
        try tell(
            Result(
                byteCount: byteCount, transferSeconds: seconds,
                handshakeMilliseconds: Double(report.handshakeDuration.nanoseconds) / 1e6))
    }
}
