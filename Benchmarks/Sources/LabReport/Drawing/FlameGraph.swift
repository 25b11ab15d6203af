// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation

/// Where a program spent its time, as a picture: a function stands on the one that called it, and is as wide as its samples.
///
/// The file needs nothing else: the full names appear where the pointer rests.
package struct FlameGraph: Sendable {
    package var profile: StackProfile
    /// Such as "bulk: the server".
    package var title: String
    /// Such as the machine and the date.
    package var subtitle: String

    package init(_ profile: StackProfile, title: String, subtitle: String) {
        self.profile = profile
        self.title = title
        self.subtitle = subtitle
    }

    private static let width = 1_400.0
    private static let row = 17.0
    private static let textSize = 11.0
    /// What is narrower cannot be seen, and a picture with all of it is large.
    private static let narrowest = 0.4

    package var svg: String {
        let depth = Double(max(1, self.visibleDepth(self.profile.root) - 1))
        let height = Self.legendHeight + depth * Self.row
        let samples = self.profile.sampleCount
        let figure = Figure(
            title: self.title,
            description:
                "A flame graph of \(samples) samples: functions stand on their callers, as wide as their time.",
            width: Self.width, height: height, content: [Self.style] + Self.legend + self.boxes(height: height))
        return figure.alone(
            heading: self.title, subheading: "\(samples) samples · \(self.subtitle)",
            caption:
                "A function stands on the one that called it, as wide as its share of the samples. At the bottom are the "
                + "threads. Rest the pointer on a box for its whole name and its share.")
    }

    private static let legendHeight = 30.0

    /// Whose code has which colour.
    private static var legend: [Markup] {
        let kinds: [(FrameKind, String)] = [
            (.tern, "Tern"), (.nio, "SwiftNIO"), (.swift, "Swift's runtime and library"),
            (.library, "ngtcp2, GnuTLS, SQLite, libc"), (.kernel, "kernel"),
        ]
        var x = 0.0
        return kinds.flatMap { kind, text -> [Markup] in
            let start = x
            x += 18 + PlotText.width(of: text) + 22
            return [
                tag(
                    "rect",
                    ["class": kind.style, "x": length(start), "y": "0", "width": "12", "height": "12", "rx": "1.5"]),
                PlotParts.text(text, start + 18, 10, style: "muted"),
            ]
        }
    }

    private func boxes(height: Double) -> [Markup] {
        guard self.profile.sampleCount > 0 else {
            return [PlotParts.text("no samples", 0, height - 4, style: "muted")]
        }
        var boxes: [Markup] = []
        self.draw(self.profile.root.callees, x: 0, y: height - Self.row, isThread: true, into: &boxes)
        return boxes
    }

    private var scale: Double { Self.width / Double(max(1, self.profile.sampleCount)) }

    private func draw(
        _ frames: [StackProfile.Frame], x: Double, y: Double, isThread: Bool = false, into boxes: inout [Markup]
    ) {
        var x = x
        for frame in frames {
            let width = Double(frame.total) * self.scale
            if width >= Self.narrowest {
                boxes.append(self.box(frame, x: x, y: y, width: width, isThread: isThread))
                self.draw(frame.callees, x: x, y: y - Self.row, into: &boxes)
            }
            x += width
        }
    }

    private func box(
        _ frame: StackProfile.Frame, x: Double, y: Double, width: Double, isThread: Bool
    ) -> Markup {
        let share = Double(frame.total) / Double(max(1, self.profile.sampleCount)) * 100
        var parts = [
            tag("title", [:], "\(frame.name) · \(fixed(share, 1)) % · \(frame.total) samples"),
            tag(
                "rect",
                [
                    "class": isThread ? "k-thread" : FrameKind(frame.name).style, "x": length(x), "y": length(y),
                    "width": length(max(0.3, width - 0.6)), "height": length(Self.row - 1), "rx": "1.5",
                ]),
        ]
        // What has no room for three letters and the dots stays empty.
        let room = Int((width - 6) / (Self.textSize * 0.56))
        if room >= 4 {
            parts.append(
                tag(
                    "text", ["class": "flame-text", "x": length(x + 3), "y": length(y + Self.row - 5)],
                    Self.fitted(frame.name.harmless, to: room)))
        }
        return tag("g", [:], parts)
    }

    /// A name that is too long keeps its end: the types in front of a method are those of the boxes around it. That it is the
    /// kernel's is said by its colour.
    static func fitted(_ name: String, to room: Int) -> String {
        let name = name.hasSuffix(" (kernel)") ? String(name.dropLast(9)) : name
        if name.count <= room { return name }
        let parts = name.split(separator: ".")
        for first in parts.indices.dropFirst() {
            let end = parts[first...].joined(separator: ".")
            if end.count <= room { return end }
        }
        return String(parts.last ?? "").shortened(to: room)
    }

    private func visibleDepth(_ frame: StackProfile.Frame) -> Int {
        let visible = frame.callees.filter { Double($0.total) * self.scale >= Self.narrowest }
        return 1 + (visible.map { self.visibleDepth($0) }.max() ?? 0)
    }

    private static let style = tag(
        "style", [:],
        """
        .plot .flame-text{font-size:11px;fill:#1f2328;pointer-events:none}
        .plot g:hover>rect{stroke:#1f2328;stroke-width:1}
        .k-tern{fill:#8cc4ea}.k-nio{fill:#9fd8a4}.k-swift{fill:#cbb7e8}.k-library{fill:#f3c68f}.k-kernel{fill:#c9ced4}
        .k-thread{fill:#e4e8ec}
        """)
}

/// Whose code a function is; it decides the colour.
enum FrameKind: String {
    case tern, nio, swift, library, kernel

    var style: String { "k-\(self.rawValue)" }

    init(_ name: String) {
        let module = name.prefix { $0 != "." }
        let isSwift = module.count < name.count && !name.hasPrefix("[")
        if name.hasSuffix("(kernel)") {
            self = .kernel
        } else if isSwift, module.hasPrefix("NIO") {
            self = .nio
        } else if name.hasPrefix("tern_") || isSwift && module.hasPrefix("Tern") {
            self = .tern
        } else if isSwift || Self.runtime.contains(where: { name.hasPrefix($0) }) {
            self = .swift
        } else {
            self = .library
        }
    }

    private static let runtime = [
        "swift_", "_swift", "swift::", "$s", "_dispatch", "dispatch_", "[libswift", "[libdispatch", "[libFoundation",
        "[lib_Foundation",
    ]
}
