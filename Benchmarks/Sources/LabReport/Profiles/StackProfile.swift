// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// Samples of a program's stacks, added up by the functions they went through.
package struct StackProfile: Sendable {
    /// A function in the place where it was called from.
    package struct Frame: Sendable {
        package var name: String
        /// The samples that it and what it called took.
        package var total = 0
        /// By their names; the order in which they are drawn.
        package var callees: [Frame] = []
    }

    /// The threads, or whatever the outermost functions are, below a frame without a name.
    package private(set) var root = Frame(name: "")
    package var sampleCount: Int { self.root.total }

    package init() {}

    /// Reads folded stacks: a line for each, functions from the outermost on with semicolons between them, a space, a count.
    ///
    /// - Throws: ``BenchmarkError`` with the line that is something else.
    package init(folded text: String) throws {
        for (number, line) in text.split(separator: "\n").enumerated() {
            guard let space = line.lastIndex(of: " "), let count = Int(line[line.index(after: space)...]), count > 0,
                space > line.startIndex
            else { throw BenchmarkError("line \(number + 1) is not a folded stack") }
            self.add(line[..<space].split(separator: ";").map { String($0) }, count: count)
        }
        self.sort()
    }

    /// Reads what "perf script -F comm,ip,sym,dso" prints: for each sample the thread's name, then a line for each function from
    /// the innermost on, then an empty line. What calls itself, directly or through a thunk of the same name, is one frame.
    package init(perfScript text: String) {
        var thread: String?
        var stack: [String] = []
        var names: [Substring: FrameName?] = [:]
        // An empty line ends the last sample too.
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) + [Substring()] {
            if line.allSatisfy(\.isWhitespace) {
                if let thread { self.add([thread] + stack.reversed(), count: 1) }
                (thread, stack) = (nil, [])
            } else if thread == nil {
                let name = String(line).trimmingCharacters(in: .whitespaces).replacing(";", with: ",")
                // The threads that Swift tasks run on have the end of their queue's name, and so has one that a task started.
                thread = name.hasSuffix("-qos") ? "Swift tasks, and threads that they started" : name
            } else {
                let name = names[line] ?? FrameName.inPerfScript(line)
                names[line] = name
                if let name, name.isWorthShowing, stack.last != name.text { stack.append(name.text) }
            }
        }
        self.sort()
    }

    /// The profile as folded stacks.
    package var folded: String {
        var lines: [String] = []
        func walk(_ frame: Frame, _ path: [String]) {
            let own = frame.total - frame.callees.reduce(0) { $0 + $1.total }
            if own > 0, !path.isEmpty { lines.append("\(path.joined(separator: ";")) \(own)") }
            for callee in frame.callees { walk(callee, path + [callee.name]) }
        }
        walk(self.root, [])
        return lines.map { $0 + "\n" }.joined()
    }

    package mutating func add(_ stack: [String], count: Int) {
        self.root.add(stack.prefix(Self.deepest)[...], count: count)
    }

    mutating func sort() { self.root.sort() }

    /// Deeper stacks are cut: recursion without an end would make a picture without an end.
    private static let deepest = 200
}

extension StackProfile.Frame {
    fileprivate mutating func add(_ stack: ArraySlice<String>, count: Int) {
        self.total += count
        guard let first = stack.first else { return }
        let index = self.callees.firstIndex { $0.name == first }
        if index == nil { self.callees.append(Self(name: first)) }
        self.callees[index ?? self.callees.count - 1].add(stack.dropFirst(), count: count)
    }

    fileprivate mutating func sort() {
        self.callees.sort { $0.name < $1.name }
        for index in self.callees.indices { self.callees[index].sort() }
    }

    /// How many frames are above each other here, this one with them.
    var depth: Int { 1 + (self.callees.map(\.depth).max() ?? 0) }
}
