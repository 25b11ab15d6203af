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
        /// Of the text with its marker.
        fileprivate var width: Double
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
            let text = PlotText.shortened(event.text, to: 330, size: 11)
            let width = PlotText.width(of: text, size: 11) + Self.gap + 4
            let x = place(event.at)
            return Label(event: event, x: x, lane: nil, text: text, isLeft: x + width > right, width: width)
        }
        // The connection says much, the network little and what everything else follows from: where there is no room for all
        // labels, the connection's are left out first, and of those the later ones.
        var wanted = Array(labels.indices)
        var placed = Self.placed(labels, wanted)
        while placed == nil, let least = wanted.max(by: { Self.rank(labels[$0], $0) < Self.rank(labels[$1], $1) }) {
            wanted.removeAll { $0 == least }
            placed = Self.placed(labels, wanted)
        }
        self.labels = placed ?? labels
        self.lanes = self.labels.compactMap(\.lane).map { $0 + 1 }.max() ?? 0
    }

    private static func rank(_ label: Label, _ index: Int) -> (source: Int, index: Int) {
        let source = label.event.source == "network" ? 0 : label.event.source == "transport" ? 2 : 1
        return (source, index)
    }

    /// `nil` when there are not enough lanes for these, or no order in which they do not cover each other.
    private static func placed(_ labels: [Label], _ wanted: [Int]) -> [Label]? {
        var labels = labels
        self.turnAround(&labels, wanted)
        var rest = wanted
        while !rest.isEmpty {
            // The next is one that need not stand above any of the rest; of those the latest, so that the lanes fall with time.
            let free = rest.last { index in
                rest.allSatisfy { $0 == index || !Self.mustBeAbove(index, $0, labels) }
            }
            guard let index = free else { return nil }
            let done = wanted.filter { labels[$0].lane != nil }
            let lane = (0..<Self.mostLanes).first { lane in
                done.allSatisfy { other in
                    let otherLane = labels[other].lane ?? 0
                    if Self.mustBeAbove(index, other, labels), lane <= otherLane { return false }
                    return lane != otherLane || labels[index].to + 4 <= labels[other].from
                        || labels[other].to + 4 <= labels[index].from
                }
            }
            guard let lane else { return nil }
            labels[index].lane = lane
            rest.removeAll { $0 == index }
        }
        return labels
    }

    /// Two that lie on each other's lines can stand in no order: then the one whose text is on the right goes to the left.
    private static func turnAround(_ labels: inout [Label], _ wanted: [Int]) {
        for _ in wanted {
            var hasTurned = false
            for one in wanted {
                for other in wanted
                where one != other && labels[one].covers(labels[other]) && labels[other].covers(labels[one]) {
                    let right = labels[one].isLeft ? other : one
                    guard !labels[right].isLeft, labels[right].x >= labels[right].width else { continue }
                    labels[right].isLeft = true
                    hasTurned = true
                }
            }
            if !hasTurned { return }
        }
    }

    /// A line runs from its label down to the plot, through all lanes below.
    private static func mustBeAbove(_ one: Int, _ other: Int, _ labels: [Label]) -> Bool {
        if labels[one].covers(labels[other]) { return true }
        // Those of one moment stand in their order.
        return one < other && abs(labels[one].x - labels[other].x) < 3 && !labels[other].covers(labels[one])
    }
}

extension EventLanes.Label {
    fileprivate var from: Double { self.isLeft ? self.x - self.width : self.x }
    fileprivate var to: Double { self.isLeft ? self.x : self.x + self.width }

    /// Whether the text lies on the line of the other.
    fileprivate func covers(_ other: Self) -> Bool { other.x > self.from + 2 && other.x < self.to - 2 }
}
