// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

extension Result where Failure == any Error {
    static func catching(_ body: () async throws -> Success) async -> Result {
        do { return .success(try await body()) } catch { return .failure(error) }
    }
}

/// Fails when `body` takes longer than ``TransportConformance/patience``; `body` is cancelled then.
func withPatience(_ body: @escaping @Sendable () async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try await Task.sleep(for: .nanoseconds(TransportConformance.patience.nanoseconds))
            throw ConformanceFailure("it hangs")
        }
        defer { group.cancelAll() }
        try await group.next()
    }
}

/// Echoes the peer's streams on `server` while `body` runs.
func withEchoing(_ server: Connection, _ body: () async throws -> Void) async throws {
    let echoing = Task {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for try await stream in server.inboundStreams {
                group.addTask {
                    while let bytes = try await stream.read() { try await stream.write(bytes) }
                    try await stream.finish()
                }
            }
            try await group.waitForAll()
        }
    }
    defer { echoing.cancel() }
    try await body()
}

func expectAsyncError<Value>(
    _ code: TransportError.Code, wireCode: UInt64? = nil, _ body: () async throws -> Value
) async throws {
    do {
        _ = try await body()
    } catch let error as TransportError {
        try require(
            error.code == code && (wireCode == nil || error.wireCode == wireCode), "\(error) instead of \(code)")
        return
    }
    throw ConformanceFailure("\(code) did not come")
}

extension Connection {
    func nextStream() async throws -> TernTransport.Stream {
        guard let stream = try await self.inboundStreams.first(where: { _ in true }) else {
            throw ConformanceFailure("no stream came")
        }
        return stream
    }

    /// Sends `bytes` on a stream of their own and collects the answer meanwhile.
    func roundTrip(_ bytes: ByteBuffer) async throws -> ByteBuffer {
        let stream = try await self.openStream()
        async let isSent: Void = stream.sendAll(bytes)
        var answer = ByteBuffer()
        while let piece = try await stream.read() { answer.writeImmutableBuffer(piece) }
        try await isSent
        return answer
    }
}

extension TernTransport.Stream {
    func collect() async throws -> ByteBuffer {
        var all = ByteBuffer()
        while let piece = try await self.read() { all.writeImmutableBuffer(piece) }
        return all
    }

    func sendAll(_ bytes: ByteBuffer) async throws {
        var rest = bytes
        while rest.readableBytes > 10_000, let piece = rest.readSlice(length: 10_000) { try await self.write(piece) }
        try await self.finish(rest)
    }
}
