// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

#if canImport(FoundationXML)
internal import FoundationXML
#endif

/// What is in a page or a picture, for tests; the parser refuses what is not well-formed.
final class ParsedMarkup: NSObject, XMLParserDelegate {
    struct Problem: Error, CustomStringConvertible { var description: String }

    private(set) var elements: [(name: String, attributes: [String: String])] = []
    /// The cells of all tables, row by row.
    private(set) var rows: [[String]] = []
    private(set) var text = ""
    private var isInCell = false

    init(_ source: String) throws {
        super.init()
        let parser = XMLParser(data: Data(source.utf8))
        parser.delegate = self
        guard parser.parse() else {
            throw Problem(description: "line \(parser.lineNumber): \(parser.parserError.map { "\($0)" } ?? "unknown")")
        }
    }

    func count(_ name: String) -> Int { self.elements.count { $0.name == name } }

    var ids: [String] { self.elements.compactMap { $0.attributes["id"] } }

    /// The rows whose first cell is this.
    func rows(of first: String) -> [[String]] { self.rows.filter { $0.first == first } }

    func parser(
        _: XMLParser, didStartElement name: String, namespaceURI _: String?, qualifiedName _: String?,
        attributes: [String: String] = [:]
    ) {
        self.elements.append((name, attributes))
        if name == "tr" { self.rows.append([]) }
        if name == "td" || name == "th", !self.rows.isEmpty {
            self.rows[self.rows.count - 1].append("")
            self.isInCell = true
        }
    }

    func parser(_: XMLParser, didEndElement name: String, namespaceURI _: String?, qualifiedName _: String?) {
        if name == "td" || name == "th" { self.isInCell = false }
    }

    func parser(_: XMLParser, foundCharacters text: String) {
        self.text += text
        if self.isInCell, let row = self.rows.indices.last, let cell = self.rows[row].indices.last {
            self.rows[row][cell] += text
        }
    }
}
