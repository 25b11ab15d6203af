// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import NIOCore
import Testing

@testable import tern_command

/// Standard input, line by line and byte for byte.
@Suite(.timeLimit(.minutes(10)))
struct LineReaderTests {
    @Test(
        "Every line is there once, empty ones and a last one without an end included",
        arguments: [
            ("", []), ("\n", [""]), ("a", ["a"]), ("a\n", ["a"]), ("a\n\n", ["a", ""]), ("\n\nb", ["", "", "b"]),
            ("a\r\nb\n", ["a\r", "b"]), ("\u{0}\n \n", ["\u{0}", " "]),
        ])
    func linesAreWhole(input: String, lines: [String]) async throws {
        #expect(try await self.read(Data(input.utf8)).map { String(buffer: $0) } == lines)
    }

    @Test("Bytes that are no text survive, over the edges of what one read brings")
    func bytesSurvive() async throws {
        let lines = (0..<300).map { index in (0..<1_000).map { UInt8(truncatingIfNeeded: ($0 * 7 + index) | 0x80) } }
        let read = try await self.read(Data(lines.map { $0 + [10] }.joined()))
        #expect(read.map { Array($0.readableBytesView) } == lines)
    }

    @Test("A line of the largest size is taken, one byte more is refused with its number")
    func longLinesAreRefused() async throws {
        #expect(try await self.read(Data("\n12345678\n".utf8), maximumBytes: 8).count == 2)
        for input in ["\n123456789\n", "\n123456789"] {
            let error = await #expect(throws: CommandError.self) {
                try await self.read(Data(input.utf8), maximumBytes: 8)
            }
            #expect(error?.code == .badInput)
            #expect(error?.message.contains("line 2 ") == true)
        }
    }

    private func read(_ input: Data, maximumBytes: Int = 1 << 20) async throws -> [ByteBuffer] {
        let pipe = Pipe()
        // A pipe takes 64 KiB at once; the rest waits for the reader.
        let writer = DispatchQueue(label: "writer")
        writer.async {
            try? pipe.fileHandleForWriting.write(contentsOf: input)
            try? pipe.fileHandleForWriting.close()
        }
        var reader = LineReader(descriptor: pipe.fileHandleForReading.fileDescriptor, maximumBytes: maximumBytes)
        var lines: [ByteBuffer] = []
        while let line = try await reader.next() { lines.append(line) }
        #expect(reader.count == lines.count)
        return lines
    }
}
