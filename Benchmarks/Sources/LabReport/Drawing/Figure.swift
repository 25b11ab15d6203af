// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// A picture without its frame: it stands in a page, or alone in a file.
struct Figure: Sendable {
    /// What is shown, in a line.
    var title: String
    /// What it shows, for those who do not see it.
    var description: String
    var width: Double
    var height: Double
    var content: [Markup]

    /// For a page, which has the styles.
    /// - Parameter id: unique on the page.
    func inline(id: String) -> Markup {
        tag(
            "svg",
            [
                "class": "plot", "viewBox": "0 0 \(length(self.width)) \(length(self.height))", "role": "img",
                "style": "max-width:\(length(self.width * 1.6))px", "aria-labelledby": "\(id)-t \(id)-d",
            ],
            [tag("title", ["id": "\(id)-t"], self.title), tag("desc", ["id": "\(id)-d"], self.description)]
                + self.content)
    }

    /// A file of its own, with its background, its styles, and what a reader needs around it.
    func alone(heading: String, subheading: String, caption: String) -> String {
        let margin = 20.0
        let (top, bottom) = (64.0, 34.0)
        let (width, height) = (self.width + 2 * margin, self.height + top + bottom)
        let room = Int((width - 2 * margin) / PlotText.width(of: "x", size: 12))
        let heads = [
            tag("title", [:], heading), tag("desc", [:], self.description), tag("style", [:], PlotStyle.source),
            tag(
                "rect",
                [
                    "class": "card", "x": "0.5", "y": "0.5", "width": length(width - 1), "height": length(height - 1),
                    "rx": "8",
                ]),
            tag("text", ["class": "heading", "x": length(margin), "y": "30"], heading.shortened(to: room * 12 / 16)),
            tag("text", ["class": "muted", "x": length(margin), "y": "50"], subheading.shortened(to: room)),
            tag("g", ["transform": "translate(\(length(margin)) \(length(top)))"], self.content),
            tag(
                "text", ["class": "small muted", "x": length(margin), "y": length(height - 14)],
                caption.shortened(to: room * 12 / 11)),
        ]
        return tag(
            "svg",
            [
                "xmlns": "http://www.w3.org/2000/svg", "class": "plot",
                "viewBox": "0 0 \(length(width)) \(length(height))",
                "width": length(width), "height": length(height), "role": "img",
            ], heads
        ).source + "\n"
    }
}

/// How wide text is, near enough: the widest of the usual fonts decides.
enum PlotText {
    static func width(of text: String, size: Double = 12) -> Double {
        Double(text.count) * size * 0.56
    }

    static func shortened(_ text: String, to width: Double, size: Double = 12) -> String {
        text.harmless.shortened(to: max(1, Int(width / (size * 0.56))))
    }
}

/// The colours and lines of all plots. The kinds' colours are of the palette of Okabe and Ito, which those who do not tell red
/// from green tell apart; in the dark their lighter ones.
enum PlotStyle {
    private struct Theme {
        var card, line, ink, muted, grid: String
        var quic, tcp, auto, other: String
        var transport, application: String
    }

    private static let light = Theme(
        card: "#ffffff", line: "#d0d7de", ink: "#1f2328", muted: "#59636e", grid: "#e4e8ec", quic: "#0072b2",
        tcp: "#d55e00", auto: "#009e73", other: "#7a7a7a", transport: "#8a3d73", application: "#7a5c00")
    private static let dark = Theme(
        card: "#0d1117", line: "#3d444d", ink: "#e6edf3", muted: "#9198a1", grid: "#262c36", quic: "#56b4e9",
        tcp: "#f0883e", auto: "#3fc39a", other: "#a0a0a0", transport: "#d8a0c6", application: "#e0c15a")

    static var source: String {
        """
        .plot{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
        .plot text{font-size:12px;stroke:none}
        .plot .small{font-size:11px}
        .plot .heading{font-size:16px;font-weight:600}
        .plot .strong{font-weight:600}
        .plot .grid{stroke-width:1}
        .plot .axis{stroke-width:1}
        .plot .curve{fill:none;stroke-width:2;stroke-linejoin:round}
        .plot .faint{fill:none;stroke-width:1;stroke-opacity:.3}
        .plot .area{stroke:none;fill-opacity:.18}
        .plot .second{fill-opacity:.6}
        .plot .third{fill-opacity:.35}
        .plot .over{stroke-dasharray:8 5}
        .plot .dash1{stroke-dasharray:7 3}
        .plot .dash2{stroke-dasharray:2 3}
        .plot .dash3{stroke-dasharray:10 3 2 3}
        .plot .whisker{fill:none;stroke-width:1.5}
        .plot .round{fill-opacity:.55}
        .plot .hollow{fill-opacity:.12;stroke-width:1;stroke-dasharray:3 2}
        .plot .event{stroke-width:1;fill:none}
        .plot .e-transport{stroke-dasharray:5 3}
        .plot .e-application{stroke-dasharray:2 2}
        \(Self.rules(Self.light))
        @media screen and (prefers-color-scheme:dark){
        \(Self.rules(Self.dark))
        }
        """
    }

    private static func rules(_ theme: Theme) -> String {
        let kinds = [("quic", theme.quic), ("tcp", theme.tcp), ("auto", theme.auto), ("other", theme.other)]
        let events = [("network", theme.ink), ("transport", theme.transport), ("application", theme.application)]
        return """
            .plot text{fill:\(theme.ink)}
            .plot .muted{fill:\(theme.muted)}
            .plot .card{fill:\(theme.card);stroke:\(theme.line)}
            .plot .grid{stroke:\(theme.grid)}
            .plot .axis{stroke:\(theme.muted)}
            .plot .whisker{stroke:\(theme.ink)}
            .plot .round{fill:\(theme.ink)}

            """
                + kinds.map { ".plot .f-\($0.0){fill:\($0.1)}.plot .s-\($0.0){stroke:\($0.1)}" }.joined(separator: "\n")
                + "\n"
                + events.map { ".plot .e-\($0.0){stroke:\($0.1)}.plot .m-\($0.0){fill:\($0.1)}" }.joined(
                    separator: "\n")
    }
}

extension ContenderKind {
    var fill: String { "f-\(self.rawValue)" }
    var stroke: String { "s-\(self.rawValue)" }
    /// Who may choose its carrier often runs where one of the others does, and must not cover it.
    var curve: String { self == .auto ? "\(self.stroke) over" : self.stroke }
}

extension [ContenderResult] {
    /// Which of its kind each is, from 0: of those of one colour the first is plain, the others are paler or dashed.
    var placesInKind: [Int] {
        var seen: [ContenderKind: Int] = [:]
        return self.map { contender in
            defer { seen[contender.kind, default: 0] += 1 }
            return seen[contender.kind, default: 0]
        }
    }
}

enum PlotParts {
    static func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ style: String) -> Markup {
        tag("line", ["class": style, "x1": length(x1), "y1": length(y1), "x2": length(x2), "y2": length(y2)])
    }

    static func text(
        _ text: String, _ x: Double, _ y: Double, anchor: String = "start", style: String = ""
    ) -> Markup {
        tag("text", ["class": style, "x": length(x), "y": length(y), "text-anchor": anchor], text)
    }

    static func path(_ points: [(x: Double, y: Double)], _ style: String) -> Markup {
        let steps = points.enumerated().map { "\($0 == 0 ? "M" : "L")\(length($1.x)) \(length($1.y))" }
        return tag("path", ["class": style, "d": steps.joined()])
    }

    /// Names with a piece of their lines, in as many lines of text as it takes.
    /// - Returns: what to draw, and where its last line is.
    static func legend(
        _ contenders: [ContenderResult], left: Double, right: Double, y: Double
    ) -> (content: [Markup], bottom: Double) {
        var (x, y) = (left, y)
        let content = zip(contenders, contenders.placesInKind).flatMap { contender, place -> [Markup] in
            let name = PlotText.shortened(contender.record.label, to: 190)
            let width = 28 + PlotText.width(of: name)
            if x > left, x + width > right { (x, y) = (left, y + 17) }
            defer { x += width + 18 }
            let style = "curve \(contender.kind.curve) dash\(min(place, 3))"
            return [self.line(x, y - 4, x + 22, y - 4, style), self.text(name, x + 28, y)]
        }
        return (content, y)
    }

    /// Lines across at the ticks, with their values on the left.
    static func valueAxis(_ scale: Scale, left: Double, right: Double, title: String, ticks: Int = 4) -> [Markup] {
        let values = scale.ticks(ticks)
        let marks = zip(values, scale.labels(values)).flatMap { value, label in
            let y = scale.place(value)
            return [
                self.line(left, y, right, y, "grid"),
                self.text(label, left - 6, y + 4, anchor: "end", style: "small muted"),
            ]
        }
        return marks + [self.text(title, 0, min(scale.from, scale.to) - 10, style: "small muted")]
    }
}
