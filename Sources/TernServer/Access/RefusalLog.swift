// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import Synchronization
internal import TernMessages
internal import TernTransport

/// When a line about a refused login is written: at most one a second, with how many were kept back before it. Whoever guesses
/// tokens fills nobody's disk, and is seen all the same.
struct RefusalPace: Sendable {
    static let interval = Duration.seconds(1)

    private var lastLine: ContinuousClock.Instant?
    private var keptBack = 0

    /// Somebody was refused.
    ///
    /// - Returns: `nil` to keep it back, or how many were kept back since the last line.
    mutating func refused(at now: ContinuousClock.Instant) -> Int? {
        if let lastLine, lastLine.duration(to: now) < Self.interval {
            self.keptBack += 1
            return nil
        }
        self.lastLine = now
        defer { self.keptBack = 0 }
        return self.keptBack
    }
}

/// Tells operators who was not let in, and why.
final class RefusalLog: Sendable {
    private let logger: Logger
    private let pace = Mutex(RefusalPace())

    init(_ logger: Logger) {
        self.logger = logger
    }

    /// - Parameter connection: where the refused client is.
    func note(_ failure: Failure, on connection: Connection) async {
        // Every client is refused while the server stops: nobody has to look after it.
        guard failure.code != .draining else {
            self.logger.debug("refused", metadata: ["code": "\(failure.code)"])
            return
        }
        guard let keptBack = self.pace.withLock({ $0.refused(at: .now) }) else { return }
        let address = await connection.remoteAddress()?.hostAndPort
        var metadata: Logger.Metadata = [
            "code": "\(failure.code)", "reason": "\(failure.text.printable())", "address": "\(address ?? "unknown")",
            "carrier": "\(connection.carrier)",
        ]
        if keptBack > 0 { metadata["others"] = "\(keptBack)" }
        self.logger.warning("refused", metadata: metadata)
    }
}
