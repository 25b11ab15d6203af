// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A piece of a page or of a picture. Text is escaped where it is written, so nothing from a file can become markup. What is
/// written is XML and HTML alike.
indirect enum Markup: Sendable {
    case text(String)
    case element(String, [(name: String, value: String)], [Markup])

    /// Elements that HTML closes by itself.
    private static let empty: Set<String> = ["meta", "br", "hr", "link", "img", "col"]

    var source: String {
        var source = ""
        self.write(to: &source)
        return source
    }

    private func write(to source: inout String) {
        switch self {
        case .text(let text): source += Self.escaped(text, isAttribute: false)
        case .element(let name, let attributes, let children):
            source += "<\(name)"
            for attribute in attributes {
                source += " \(attribute.name)=\"\(Self.escaped(attribute.value, isAttribute: true))\""
            }
            guard !Self.empty.contains(name) else {
                source += "/>"
                return
            }
            source += ">"
            for child in children { child.write(to: &source) }
            source += "</\(name)>"
        }
    }

    private static func escaped(_ text: String, isAttribute: Bool) -> String {
        var escaped = ""
        for character in text.harmlessInMarkup.unicodeScalars {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"" where isAttribute: escaped += "&quot;"
            case "'" where isAttribute: escaped += "&#39;"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}

extension Markup: ExpressibleByStringInterpolation {
    init(stringLiteral value: String) { self = .text(value) }
}

func tag(_ name: String, _ attributes: KeyValuePairs<String, String> = [:], _ children: [Markup] = []) -> Markup {
    .element(name, attributes.map { ($0.key, $0.value) }, children)
}

func tag(_ name: String, _ attributes: KeyValuePairs<String, String> = [:], _ text: String) -> Markup {
    tag(name, attributes, [.text(text)])
}

extension String {
    /// As ``harmless``, but with line breaks, which markup may have.
    fileprivate var harmlessInMarkup: String {
        self.contains("\n")
            ? self.split(separator: "\n", omittingEmptySubsequences: false).map { String($0).harmless }
                .joined(separator: "\n") : self.harmless
    }
}

/// A coordinate or a length in a picture.
func length(_ value: Double) -> String {
    guard value.isFinite else { return "0" }
    let tenths = (min(max(value, -1e6), 1e6) * 10).rounded()
    let whole = Int(tenths)
    let sign = whole < 0 ? "-" : ""
    let (units, rest) = abs(whole).quotientAndRemainder(dividingBy: 10)
    return rest == 0 ? "\(sign)\(units)" : "\(sign)\(units).\(rest)"
}
