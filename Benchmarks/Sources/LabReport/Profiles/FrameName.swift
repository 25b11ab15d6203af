// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

/// What a function is called in a picture.
struct FrameName {
    var text: String

    /// A line of "perf script": an address, the name, the file in parentheses.
    static func inPerfScript(_ line: Substring) -> FrameName? {
        let trimmed = line.trimmingCharacters(in: .whitespaces)
        guard let space = trimmed.firstIndex(of: " "), trimmed[..<space].allSatisfy(\.isHexDigit) else { return nil }
        var name = trimmed[trimmed.index(after: space)...]
        var file = Substring()
        if name.hasSuffix(")"), let opening = name.range(of: " (", options: .backwards) {
            file = name[opening.upperBound...].dropLast()
            name = name[..<opening.lowerBound]
        }
        return FrameName(name: String(name), file: String(file))
    }

    init(name: String, file: String = "") {
        let library = file.split(separator: "/").last.map { String($0) } ?? file
        if name == "[unknown]" || name.isEmpty {
            // Without symbols a library is all that is known.
            self.text = "[\(Self.withoutVersion(library))]"
        } else {
            self.text = Self.readable(name)
        }
        if file.hasPrefix("[kernel") || file.hasSuffix(".ko") { self.text += " (kernel)" }
        // Semicolons part functions in folded stacks.
        self.text = self.text.replacing(";", with: ",")
    }

    /// What is the same in every stack, or only calls on, says nothing.
    var isWorthShowing: Bool { !Self.silent.contains(self.text) && !self.text.hasPrefix("thunk ") }

    private static let silent: Set<String> = [
        "[[unknown]]", "[]", "_start", "__libc_start_main", "__libc_start_call_main", "clone", "__clone3", "clone3",
        "start_thread",
    ]

    /// `libgnutls.so.30.34.3` as `libgnutls`.
    private static func withoutVersion(_ library: String) -> String {
        library.range(of: ".so").map { String(library[..<$0.lowerBound]) } ?? library
    }

    /// What a demangled Swift name says, without its types: they fill a picture and tell little. A closure is called as the
    /// function that it is in, with braces.
    private static func readable(_ name: String) -> String {
        // "(extension in Module):Type" is one of a module, "(name in _0123ABCD…)" one that is private to a file.
        let plain = name.replacing(/\(extension in ([^()]+)\):/) { "\($0.1)." }
            .replacing(/\(([^() ]+) in _[0-9A-F]+\)/) { $0.1 }
            .replacing("__C.", with: "")
        var whole = Self.withoutBrackets(plain)
        if let conformance = whole.range(of: " in conformance ") { whole = String(whole[..<conformance.lowerBound]) }
        let parts = whole.components(separatedBy: " in ")
        let words = parts.map { Self.withoutDecoration($0) }
        guard let place = words.last, !place.isEmpty else { return name }
        return words.dropLast().contains { $0.contains("closure #") } ? "\(place) {…}" : place
    }

    /// What the compiler made of a function, and what the function returns.
    private static func withoutDecoration(_ part: String) -> String {
        var part = part
        if let arrow = part.range(of: " ->") { part = String(part[..<arrow.lowerBound]) }
        for phrase in Self.phrases { part = part.replacing(phrase, with: "") }
        for suffix in [" async throws", " throws", " async"] where part.hasSuffix(suffix) {
            part = String(part.dropLast(suffix.count))
        }
        // Versions of symbols, and the parts that the C compiler made of a function.
        for mark in ["@", ".constprop.", ".part.", ".isra.", ".cold"] {
            if let end = part.range(of: mark), end.lowerBound > part.startIndex {
                part = String(part[..<end.lowerBound])
            }
        }
        return part.trimmingCharacters(in: .whitespaces)
    }

    private static let phrases = [
        "generic specialization of ", "function signature specialization of ", "partial apply forwarder for ",
        "partial apply for ", "reabstraction ", "protocol witness for ", "dispatch thunk of ", "implicit ",
        "specialized ",
        "static ", "@nonobjc ", "merged ", "@objc ", "generic not re-abstracted ", "generic partial specialization of ",
        "await resume partial function for ", "suspend resume partial function for ", "async function pointer to ",
    ]

    /// Removes what is in parentheses and angle brackets: arguments, generic arguments, discriminators of private names.
    private static func withoutBrackets(_ name: String) -> String {
        var depth = 0
        var result = ""
        var previous: Character = " "
        for character in name {
            switch character {
            case "(", "<": depth += 1
            case ")",
                ">" where previous != "-":
                depth = max(0, depth - 1)
            default: if depth == 0 { result.append(character) }
            }
            previous = character
        }
        let text = result.split(separator: " ").joined(separator: " ")
        return text.isEmpty ? name : text
    }
}
