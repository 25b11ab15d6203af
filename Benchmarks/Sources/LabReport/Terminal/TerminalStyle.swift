// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// How text looks on a terminal: colours where they are wanted, columns, lines that are not too long.
struct TerminalStyle {
    let width: Int
    let color: Bool

    init(width: Int, color: Bool) {
        self.width = min(max(width, 40), 160)
        self.color = color
    }

    enum Look: String {
        case bold = "1"
        case dim = "2"
        case good = "32"
        case bad = "31"
        case warning = "33"
        /// The kinds' colours, as in the report: blue, orange, green.
        case quic = "38;5;75"
        case tcp = "38;5;208"
        case auto = "38;5;79"

        init?(_ kind: ContenderKind) {
            switch kind {
            case .quic: self = .quic
            case .tcp: self = .tcp
            case .auto: self = .auto
            case .other: return nil
            }
        }
    }

    func paint(_ text: String, _ look: Look?) -> String {
        guard self.color, let look, !text.isEmpty else { return text }
        return "\u{1b}[\(look.rawValue)m\(text)\u{1b}[0m"
    }

    /// Words in lines, each but the first with the indentation of the text behind `lead`.
    func wrapped(_ text: String, lead: String = "", look: Look? = nil) -> [String] {
        let room = max(20, self.width - lead.count)
        var lines: [String] = []
        var line = ""
        for word in text.harmless.split(separator: " ") {
            if !line.isEmpty, line.count + 1 + word.count > room {
                lines.append(line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        if !line.isEmpty { lines.append(line) }
        let space = String(repeating: " ", count: lead.count)
        return lines.enumerated().map { ($0 == 0 ? lead : space) + self.paint($1, look) }
    }

    func rule(_ title: String) -> String {
        let title = title.harmless.shortened(to: self.width - 6)
        let rest = String(repeating: "─", count: max(2, self.width - title.count - 4))
        return self.paint("── \(title) \(rest)", .bold)
    }

    /// Rows of cells below a head; the first column is left, the others right. Columns that do not fit beside the others stand
    /// below them, with the first column again.
    func table(_ head: [String], _ rows: [(cells: [String], look: Look?)], indent: Int = 2) -> [String] {
        let all = [head] + rows.map(\.cells)
        let widths = head.indices.map { column in all.map { $0[column].harmless.count }.max() ?? 0 }
        let first = indent + (widths.first ?? 0)
        var blocks: [[Int]] = [[]]
        var room = self.width - first
        for column in head.indices.dropFirst() {
            if room < widths[column] + 2, blocks.last?.isEmpty == false {
                blocks.append([])
                room = self.width - first
            }
            blocks[blocks.count - 1].append(column)
            room -= widths[column] + 2
        }
        func line(_ cells: [String], _ look: Look?, _ columns: [Int]) -> String {
            let padded = ([0] + columns).map { column in
                let cell = cells[column].harmless
                let space = String(repeating: " ", count: max(0, widths[column] - cell.count))
                return column == 0 ? self.paint(cell, look) + space : space + cell
            }
            return String(repeating: " ", count: indent) + padded.joined(separator: "  ")
        }
        return blocks.flatMap { columns in
            [line(head, .dim, columns)] + rows.map { line($0.cells, $0.look, columns) }
        }
    }
}

/// Plots made of characters.
enum TerminalPlot {
    /// A bar with eighths of characters.
    static func bar(_ value: Double, of largest: Double, width: Int) -> String {
        guard largest > 0, value > 0, value.isFinite, largest.isFinite else { return "" }
        let eighths = Int((min(1, value / largest) * Double(width * 8)).rounded())
        let partial = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
        // What is there shows, however small it is.
        return eighths == 0 ? "▏" : String(repeating: "█", count: eighths / 8) + partial[eighths % 8]
    }

    /// One character for each of `width` stretches of time, as high as their mean; a stretch without anything is a dot.
    static func sparkline(_ values: [Double], of largest: Double, width: Int) -> String {
        guard !values.isEmpty, width > 0, largest > 0, largest.isFinite else { return "" }
        let levels = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
        let columns = min(width, values.count)
        return (0..<columns).map { column in
            let stretch = values[(column * values.count / columns)..<((column + 1) * values.count / columns)]
            let mean = stretch.reduce(0, +) / Double(stretch.count)
            guard mean > 0, mean.isFinite else { return "·" }
            return levels[min(7, Int(min(1, mean / largest) * 8))]
        }.joined()
    }
}
