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

    static let mostLanes = 7
    /// More events than these are in the table only.
    static let mostEvents = 24
    /// From the line to the text, with the marker in between.
    static let gap = 9.0

    let labels: [Label]
    let lanes: Int

    init(_ events: [LabEvent], right: Double, place: (Double) -> Double) {
        let labels = events.prefix(Self.mostEvents).map { event in
            let x = place(event.at)
            let text = PlotText.shortened(event.text, to: 330, size: 11)
            let width = PlotText.width(of: text, size: 11) + Self.gap + 4
            let isLeft = x + width > right
            return Label(
                event: event, x: x, lane: nil, text: text, isLeft: isLeft, from: isLeft ? x - width : x,
                to: isLeft ? x : x + width)
        }
        // The connection says much, the network little and what everything else follows from: where there is no room for all
        // labels, the connection's are left out first, and of those the later ones.
        var wanted = Array(labels.indices)
        var placed = Self.lanes(for: labels, wanted)
        while placed == nil, let least = wanted.max(by: { Self.rank(labels[$0], $0) < Self.rank(labels[$1], $1) }) {
            wanted.removeAll { $0 == least }
            placed = Self.lanes(for: labels, wanted)
        }
        self.labels = placed ?? labels
        self.lanes = self.labels.compactMap(\.lane).map { $0 + 1 }.max() ?? 0
    }

    /// `nil` when there are not enough lanes for these.
    private static func lanes(for labels: [Label], _ wanted: [Int]) -> [Label]? {
        var labels = labels
        var placed: [Label] = []
        // From the last to the first: an earlier event's label then stands above those that its text would run into.
        for index in wanted.reversed() {
            let lane = (0..<Self.mostLanes).first { lane in
                placed.allSatisfy { Self.isClear(labels[index], in: lane, of: $0) }
            }
            guard let lane else { return nil }
            labels[index].lane = lane
            placed.append(labels[index])
        }
        return labels
    }

    private static func rank(_ label: Label, _ index: Int) -> (source: Int, index: Int) {
        let source = label.event.source == "network" ? 0 : label.event.source == "transport" ? 2 : 1
        return (source, index)
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
