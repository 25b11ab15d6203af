// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Where the labels of events stand above a plot: in lanes, so that no label covers another and no event's line runs through a
/// label.
struct EventLanes {
    struct Label {
        var event: LabEvent
        /// Of the event's line.
        var x: Double
        /// From 0, which is next to the plot; `nil` where there is no room: the line stands without its label.
        var lane: Int?
        var text: String
        /// Whether the text is to the left of the line, because there is no room on the right.
        var isLeft: Bool
        fileprivate var from: Double
        fileprivate var to: Double
    }

    static let mostLanes = 6
    /// More events than these are in the table only.
    static let mostEvents = 24
    /// From the line to the text, with the marker in between.
    static let gap = 9.0

    let labels: [Label]
    let lanes: Int

    init(_ events: [LabEvent], right: Double, place: (Double) -> Double) {
        var labels: [Label] = []
        // From the last to the first: an earlier event's label then stands above those that its text would run into.
        for event in events.prefix(Self.mostEvents).reversed() {
            let x = place(event.at)
            let text = PlotText.shortened(event.text, to: 250, size: 11)
            let width = PlotText.width(of: text, size: 11) + Self.gap + 4
            let isLeft = x + width > right
            var label = Label(
                event: event, x: x, lane: nil, text: text, isLeft: isLeft, from: isLeft ? x - width : x,
                to: isLeft ? x : x + width)
            label.lane = (0..<Self.mostLanes).first { lane in
                labels.allSatisfy { Self.isClear(label, in: lane, of: $0) }
            }
            labels.append(label)
        }
        self.labels = labels.reversed()
        self.lanes = labels.compactMap(\.lane).map { $0 + 1 }.max() ?? 0
    }

    private static func isClear(_ label: Label, in lane: Int, of other: Label) -> Bool {
        guard let otherLane = other.lane else { return true }
        // Those of one moment stand in their order.
        if abs(label.x - other.x) < 3, lane < otherLane { return false }
        if lane == otherLane { return label.to + 4 <= other.from || other.to + 4 <= label.from }
        // A line runs from its label down to the plot, through all lanes below.
        if lane > otherLane { return !(label.x > other.from + 2 && label.x < other.to - 2) }
        return !(other.x > label.from + 2 && other.x < label.to - 2)
    }
}
