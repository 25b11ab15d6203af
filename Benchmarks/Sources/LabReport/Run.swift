// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

/// What a run's file says. A run that was interrupted is read as far as it goes, and marked.
package struct Run: Sendable {
    package let header: RunHeader
    package let accuracy: [AccuracyRecord]
    /// In the order of the file, warm-up included.
    package let samples: [LabSample]
    /// `nil` when the run was interrupted.
    package let end: RunEnd?
    /// What could not be read, in sentences.
    package let damage: [String]

    /// Whether the run did not come to its end, or lines of it were lost.
    package var isPartial: Bool { self.end == nil || !self.damage.isEmpty }

    /// - Throws: ``RunError`` when the file cannot be read, is no run's, or is of a version that this program does not know.
    package init(path: String) throws {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), !isDirectory.boolValue else {
            throw RunError(.unreadable, "\(path) is not a file")
        }
        guard let data = FileManager.default.contents(atPath: path) else {
            throw RunError(.unreadable, "\(path) cannot be read")
        }
        let lines = data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        try self.init(lines: lines.map { String(decoding: $0, as: UTF8.self) }, name: path)
    }

    /// - Parameters:
    ///   - lines: of a run's file; empty ones do not count.
    ///   - name: what errors call the file.
    /// - Throws: ``RunError``.
    package init(lines: some Sequence<String>, name: String = "the file") throws {
        let decoder = JSONDecoder()
        var rest = lines.enumerated().lazy.filter { !$0.element.allSatisfy(\.isWhitespace) }.makeIterator()
        guard let (_, first) = rest.next() else { throw RunError(.empty, "\(name) is empty") }
        self.header = try Self.header(first, of: name, decoder)
        var content = Content()
        while let (index, line) = rest.next() {
            content.read(line, number: index + 1, decoder)
        }
        self.accuracy = content.accuracy
        self.samples = content.samples
        self.end = content.end
        self.damage = content.damage
    }

    private static func header(_ line: String, of name: String, _ decoder: JSONDecoder) throws -> RunHeader {
        let data = Data(line.utf8)
        guard let kind = try? decoder.decode(LineKind.self, from: data), kind.record == "lab" else {
            throw RunError(.foreign, "\(name) is not the file of a lab run: its first line is not a run's header")
        }
        guard kind.format == RunFormat.version else {
            let version = kind.format.map(String.init) ?? "an unknown version"
            throw RunError(
                .otherVersion,
                "\(name) has format \(version); this program reads format \(RunFormat.version). "
                    + "Show it with the program that made it, or repeat the run with this one")
        }
        do {
            return try decoder.decode(RunHeader.self, from: data)
        } catch {
            throw RunError(.foreign, "\(name) has a header that cannot be read", cause: error)
        }
    }
}

/// Why a file could not be read as a run.
package struct RunError: Error, CustomStringConvertible {
    package struct Code: Sendable, Equatable {
        private enum Value { case unreadable, empty, foreign, otherVersion }
        private let value: Value

        package static let unreadable = Self(value: .unreadable)
        package static let empty = Self(value: .empty)
        /// It is something else than the file of a lab run.
        package static let foreign = Self(value: .foreign)
        package static let otherVersion = Self(value: .otherVersion)
    }

    package let code: Code
    package let message: String
    package let cause: (any Error)?

    package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    package var description: String {
        self.cause.map { "\(self.message): \($0)" } ?? self.message
    }
}

/// What every line has.
private struct LineKind: Decodable {
    var record: String
    var format: Int?
}

/// What has been read of a run behind its header.
private struct Content {
    var accuracy: [AccuracyRecord] = []
    var samples: [LabSample] = []
    var end: RunEnd?
    var damage: [String] = []

    mutating func read(_ line: String, number: Int, _ decoder: JSONDecoder) {
        let data = Data(line.utf8)
        do {
            switch try decoder.decode(LineKind.self, from: data).record {
            case "accuracy": self.accuracy.append(try decoder.decode(AccuracyRecord.self, from: data))
            case "sample": self.samples.append(try decoder.decode(LabSample.self, from: data))
            case "end": self.end = try decoder.decode(RunEnd.self, from: data)
            case "lab": self.damage.append("line \(number) is the header of another run; both were read as one")
            // Kinds of lines may be added without a new version: what is known stays readable.
            default: break
            }
        } catch {
            self.damage.append("line \(number) cannot be read and was left out")
        }
    }
}
