// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernClient
internal import TernMessages
internal import TernTransport

/// Turns lines into messages and prints their acknowledgements in the order of the lines.
struct LineSending: Sendable {
    let client: MessageClient
    let conversation: Conversation
    let output: Output
    let progress: ProgressWatch

    /// Lines that are on their way or wait to be printed; reading stops above it.
    private static let window = 4_096

    /// A line that was handed to the client.
    private struct SentLine: Sendable {
        let number: Int
        let receipt: SendReceipt
    }

    /// What became of a line.
    private struct Outcome: Sendable {
        let line: Int
        let result: Result<SentMessage, any Error>
    }

    /// - Throws: what is wrong with the input or with a line, after what was acknowledged before it was printed.
    func run() async throws {
        let receiver = try await self.client.receiver(of: self.conversation)
        let largest = Int(try await self.client.identity().maximumPayloadLength)
        let (lines, sent) = AsyncStream.makeStream(of: SentLine.self)
        let (outcomes, known) = AsyncStream.makeStream(of: Outcome.self)
        let window = Window(size: Self.window)
        // A task that nobody cancels: however the rest ends, what was acknowledged is said, for whoever sends the others again.
        let printing = Task {
            for await outcome in outcomes {
                try await self.print(outcome)
                await window.leave()
            }
        }
        let inputError = try await withThrowingTaskGroup(of: (any Error)?.self) { group in
            group.addTask {
                await self.follow(lines, telling: known)
                return nil
            }
            group.addTask {
                try await printing.value
                return nil
            }
            group.addTask {
                defer { sent.finish() }
                do {
                    var reader = LineReader(maximumBytes: largest)
                    while let payload = try await reader.next() {
                        await window.enter()
                        let receipt = try await self.client.enqueue(payload, to: receiver)
                        self.progress.began()
                        sent.yield(SentLine(number: reader.count, receipt: receipt))
                    }
                    return nil
                } catch {
                    return error
                }
            }
            var inputError: (any Error)?
            while let ended = try await group.next() { inputError = inputError ?? ended }
            return inputError
        }
        if let inputError { throw inputError }
    }

    /// Waits for the acknowledgements in the order of the lines, whether or not somebody reads what is printed of them: only the
    /// server's silence counts as silence.
    private func follow(_ lines: AsyncStream<SentLine>, telling known: AsyncStream<Outcome>.Continuation) async {
        defer { known.finish() }
        for await line in lines {
            let outcome = await self.outcome(of: line)
            self.progress.stepped()
            known.yield(outcome)
            if case .failure = outcome.result { return }
        }
    }

    private func outcome(of line: SentLine) async -> Outcome {
        do {
            return Outcome(line: line.number, result: .success(try await line.receipt.acknowledgement()))
        } catch {
            return Outcome(line: line.number, result: .failure(error))
        }
    }

    private func print(_ outcome: Outcome) async throws {
        let stored: SentMessage
        do {
            stored = try outcome.result.get()
        } catch let error as ClientError where error.code == .refused {
            throw CommandError(.badInput, "line \(outcome.line) was refused: \(error.message)")
        }
        var json = JSONLine(event: "ack")
        json.add("line", outcome.line)
        json.add("channel", stored.channel.description)
        json.add("epoch", stored.epoch.description)
        json.add("sequence", stored.sequence.rawValue)
        json.add("messageID", stored.id.description)
        json.add("carrier", stored.carrier.name)
        json.add("timestamp", stored.timestamp.rawValue)
        json.add("duplicate", stored.isDuplicate)
        try await self.output.event(
            json,
            orText: "\(stored.channel) epoch=\(stored.epoch) sequence=\(stored.sequence) id=\(stored.id) "
                + "carrier=\(stored.carrier)")
    }
}

/// Lets a number of things be under way at once.
private actor Window {
    private var free: Int
    private var waiter: CheckedContinuation<Void, Never>?

    init(size: Int) {
        self.free = size
    }

    /// Waits for a place. One task calls it.
    func enter() async {
        while self.free == 0, !Task.isCancelled {
            await withTaskCancellationHandler {
                await withCheckedContinuation { self.waiter = $0 }
            } onCancel: {
                Task { await self.wake() }
            }
        }
        self.free -= 1
    }

    func leave() {
        self.free += 1
        self.wake()
    }

    private func wake() {
        self.waiter?.resume()
        self.waiter = nil
    }
}
