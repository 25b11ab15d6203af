// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import Synchronization
internal import Tern
internal import TernMessages

extension ConnectionOptions {
    /// What the options say about whom to trust, and by which carrier.
    ///
    /// - Throws: ``CommandError`` for a CA file or a pin that cannot be used.
    func makeConnector(logger: Logger) throws -> Connector {
        var policy = ConnectionPolicy(self.carrier.mode)
        policy.timeout = min(policy.timeout, .seconds(Int64(self.timeout)))
        let trust = try self.trust()
        do {
            return try Connector(
                applicationProtocol: .messages, tls: TLSClientConfiguration(trust: trust), policy: policy,
                serverName: self.serverName, logger: logger)
        } catch let error as TransportError where error.cause is TLSError {
            guard let ca else { throw error }
            throw NamedFile(ca, role: "CA").error("cannot be used: \(error.message)")
        }
    }

    /// The first connection: where nobody answers it is tried again until ``timeout`` is over. What a server or its system refuses
    /// ends it at once: whoever typed the command wants to know.
    ///
    /// - Throws: `TransportError`, ``CommandError``.
    func connect(by connector: Connector) async throws -> (Connection, ConnectionReport) {
        let timeout = Duration.seconds(self.timeout)
        let began = ContinuousClock.now
        let (server, silence) = (self.server, Silence())
        return try await withThrowingTaskGroup(of: (Connection, ConnectionReport)?.self) { group in
            group.addTask {
                while true {
                    do {
                        return try await connector.race(to: server)
                    } catch let error as TransportError where error.code == .timedOut {
                        guard began.duration(to: .now) + Self.shortestAttempt < timeout else { throw error }
                        silence.last.withLock { $0 = error }
                    }
                }
            }
            // An attempt that began with the time ends with it, by itself, and says more.
            group.addTask {
                try await Task.sleep(until: began + timeout + Self.shortestAttempt, clock: .continuous)
                return nil
            }
            defer { group.cancelAll() }
            if let connected = try await group.next() ?? nil { return connected }
            throw silence.last.withLock { $0 }
                ?? TransportError(
                    .timedOut, message: "could not connect to \(self.server) within \(self.timeout) seconds")
        }
    }

    /// What the last attempt met that nobody answered.
    private final class Silence: Sendable {
        let last = Mutex<TransportError?>(nil)
    }

    /// No attempt is begun that would have less time than this.
    private static let shortestAttempt = Duration.milliseconds(250)

    private func trust() throws(CommandError) -> TLSTrust {
        if let pin {
            guard let digest = Self.digest(pin) else {
                throw CommandError(
                    .usage, "--pin takes the 32 bytes of a SHA-256, in base64 or as 64 hexadecimal digits")
            }
            return .pinned(subjectPublicKeyInfoSHA256: [digest])
        }
        guard let ca else { return .system }
        return .certificateAuthorities(pem: try NamedFile(ca, role: "CA").read())
    }

    /// 32 bytes from base64 (44 characters) or hexadecimal digits (64); `nil` for anything else.
    static func digest(_ text: String) -> [UInt8]? {
        if text.utf8.count == 64 {
            let digits = text.compactMap(\.hexDigitValue)
            guard digits.count == 64 else { return nil }
            return stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
        }
        guard text.utf8.count == 44, text.hasSuffix("=") else { return nil }
        var bits: UInt32 = 0
        var bytes: [UInt8] = []
        for (index, character) in text.utf8.dropLast().enumerated() {
            guard let value = Self.base64Value(character) else { return nil }
            bits = bits << 6 | UInt32(value)
            if index % 4 > 0 { bytes.append(UInt8(truncatingIfNeeded: bits >> (6 - 2 * UInt32(index % 4)))) }
        }
        return bytes.count == 32 ? bytes : nil
    }

    private static func base64Value(_ character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
