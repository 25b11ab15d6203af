// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import Testing

@testable import tern_command

/// Whoever reads what the command prints may be slow, or never read again.
@Suite(.timeLimit(.minutes(10)))
struct SlowReaderTests {
    private let tern: TernProgram

    init() throws {
        self.tern = try TernProgram()
    }

    private func client(_ server: RunningServer, token: String) -> [String] {
        ["--json", "--server", server.address, "--ca", server.caFile, "--token", token]
    }

    @Test("A slow reader is no silence of the server")
    func slowReaderIsNoSilence() async throws {
        let server = try await self.tern.serve()
        let count = 6_000
        let input = Pipe()
        let sending = try self.tern.startUnread(
            ["send", "--to", "bob", "--timeout", "5"] + self.client(server, token: "dev:ann"),
            input: input.fileHandleForReading)
        DispatchQueue.global().async {
            let lines = (1...count).map { "\($0)\n" }.joined()
            try? input.fileHandleForWriting.write(contentsOf: Data(lines.utf8))
            try? input.fileHandleForWriting.close()
        }
        try await sending.untilPipeIsFull()
        // Longer than --timeout.
        try await Task.sleep(for: .seconds(8))
        let lines = try await sending.readAll()
        #expect(await sending.exitCode() == 0, "\(sending.readErrors())")
        let acks = try lines.map { try JSON(String($0)) }.filter { $0.event == "ack" }
        #expect(acks.map { $0.number("line") } == (1...count).map(Double.init))
        _ = await server.stop()
    }

    @Test(
        "A signal ends a command whose output nobody reads",
        arguments: [["tail", "--from", "1"], ["chat", "--history", "200"]])
    func signalEnds(verb: [String]) async throws {
        let server = try await self.tern.serve()
        let text = String(repeating: "x", count: 1_000) + "\n"
        let sent = try await self.tern.run(
            ["send", "--to", "bob"] + self.client(server, token: "dev:ann"), input: String(repeating: text, count: 200))
        #expect(sent.exitCode == 0, "\(sent.errors)")
        let typing = Pipe()
        for signal in [SIGTERM, SIGINT] {
            let reading = try self.tern.startUnread(
                verb + ["--with", "ann"] + self.client(server, token: "dev:bob"), input: typing.fileHandleForReading)
            try await reading.untilPipeIsFull()
            reading.send(signal: signal)
            #expect(await reading.exitCode() == 0, "\(reading.readErrors())")
        }
        try typing.fileHandleForWriting.close()
        _ = await server.stop()
    }

    @Test("A reader that goes away ends the command")
    func readerGoes() async throws {
        let server = try await self.tern.serve()
        let sent = try await self.tern.run(
            ["send", "--to", "bob"] + self.client(server, token: "dev:ann"), input: "one\n")
        #expect(sent.exitCode == 0, "\(sent.errors)")
        let reading = try self.tern.startUnread(["tail", "--from", "1"] + self.client(server, token: "dev:bob"))
        reading.closeOutput()
        #expect(await reading.exitCode() == 74)
        #expect(reading.readErrors().contains("cannot write the output"), "\(reading.readErrors())")
        _ = await server.stop()
    }
}

/// The thread that writes.
@Suite(.timeLimit(.minutes(10)))
struct DescriptorWriterTests {
    private let pipe = Pipe()
    private var output: Int32 { self.pipe.fileHandleForWriting.fileDescriptor }

    @Test("Everything is written once, in the order of the calls, and what is posted too")
    func order() async throws {
        let writer = DescriptorWriter()
        let handle = self.pipe.fileHandleForReading
        let reading = Task {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Data, any Error>) in
                Thread { continuation.resume(with: Result { try handle.readToEnd() ?? Data() }) }.start()
            }
        }
        for number in 0..<5_000 {
            if number % 3 == 0 {
                writer.post(Array("\(number)\n".utf8), to: self.output)
            } else {
                try await writer.write(Array("\(number)\n".utf8), to: self.output)
            }
        }
        await writer.flush()
        try self.pipe.fileHandleForWriting.close()
        #expect(String(decoding: try await reading.value, as: UTF8.self) == (0..<5_000).map { "\($0)\n" }.joined())
    }

    @Test("Nobody waits once it was given up, and a cancelled task waits on")
    func givenUp() async throws {
        ignoreBrokenPipes()
        let writer = DescriptorWriter()
        let output = self.output
        let writing = Task { try await writer.write([UInt8](repeating: 7, count: 1 << 20), to: output) }
        let behind = Task { try await writer.write([8], to: output) }
        writing.cancel()
        // The first bytes came, so the rest of them is waited with.
        #expect(try self.pipe.fileHandleForReading.read(upToCount: 1)?.count == 1)
        writer.giveUp()
        try await writing.value
        try await behind.value
        try await writer.write([9], to: output)
        await writer.flush()
        // The thread is let go.
        try self.pipe.fileHandleForReading.close()
    }

    @Test("A reader that is gone is an error")
    func readerIsGone() async throws {
        ignoreBrokenPipes()
        let writer = DescriptorWriter()
        try self.pipe.fileHandleForReading.close()
        let output = self.output
        let error = await #expect(throws: CommandError.self) { try await writer.write([1], to: output) }
        #expect(error?.code == .inputOutput)
    }
}
