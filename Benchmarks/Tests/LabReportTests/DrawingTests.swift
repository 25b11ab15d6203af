// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
internal import Testing

@testable internal import LabReport

@Suite struct DrawingTests {
    @Test func makesPicturesThatStandAlone() throws {
        let pictures = try SyntheticLab.make().run.pictures()
        #expect(pictures.map(\.name) == ["overview", "latency-loss", "handover", "first-byte"])
        for (name, svg) in pictures {
            let picture = try ParsedMarkup(svg)
            let root = try #require(picture.elements.first)
            #expect(root.name == "svg" && root.attributes["xmlns"] == "http://www.w3.org/2000/svg")
            #expect(root.attributes["width"] != nil && root.attributes["viewBox"] != nil)
            #expect(picture.count("title") >= 1 && picture.count("desc") == 1)
            #expect(picture.elements.contains { $0.attributes["class"] == "card" }, "\(name) has no background")
            #expect(svg.contains("prefers-color-scheme:dark"))
            #expect(svg.components(separatedBy: "http").count == 2, "\(name) refers to something")
        }
    }

    @Test func givesEveryKindItsColourEverywhere() throws {
        let pictures = try SyntheticLab.make().run.pictures()
        let bars = try ParsedMarkup(try #require(pictures.last).svg)
        let styles = bars.elements.filter { $0.name == "rect" }.compactMap { $0.attributes["class"] }
        #expect(styles.map { $0.split(separator: " ").first } == ["card", "f-quic", "f-tcp", "f-auto"])
    }

    @Test func drawsBarsAsLongAsTheirValues() throws {
        var run = try SyntheticRun([.simple()])
        run.add("messages", "p99", ["quic": [10, 10, 10, 10], "tls": [40, 40, 40, 40]])
        let result = try #require(try run.run.results.first)
        let figure = BarsPlot(metric: .p99, result: result).figure
        let bars = try ParsedMarkup(figure.inline(id: "x").source).elements.filter { $0.name == "rect" }
        let lengths = bars.compactMap { $0.attributes["width"].flatMap(Double.init) }
        #expect(lengths.count == 2)
        #expect(abs(lengths[1] / lengths[0] - 4) < 0.01)
    }

    @Test func choosesTicksThatPeopleCount() {
        func labels(_ values: [Double]) -> [String] {
            let scale = Scale.linear(values, from: 0, to: 100)
            return scale.labels(scale.ticks())
        }
        #expect(labels([283.7]) == ["0", "100", "200", "300"])
        #expect(labels([6.6, 7.4]) == ["0", "2", "4", "6", "8"])
        #expect(labels([12]) == ["0.0", "2.5", "5.0", "7.5", "10.0", "12.5"])
        #expect(labels([0.031]) == ["0.00", "0.01", "0.02", "0.03", "0.04"])
        #expect(labels([-3, 6]).first == "−4")
        #expect(labels([]) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"])
        #expect(labels([.nan, .infinity, 1e308]).count < 20)
    }

    @Test func scalesLogarithmicallyWhereValuesAreFarApart() {
        let wide = Scale.fitting([1.5, 90, 700], from: 0, to: 300)
        #expect(wide.kind == .logarithmic)
        #expect((wide.low, wide.high) == (1, 1_000))
        #expect(abs(wide.place(10) - 100) < 1e-9)
        #expect(wide.ticks().contains(10) && wide.ticks().contains(1_000))
        #expect(Scale.fitting([10, 90], from: 0, to: 1).kind == .linear)
        #expect(Scale.fitting([0, 1, 1_000], from: 0, to: 1).kind == .linear)
        #expect(wide.place(0) == 0 && wide.place(.infinity) == 300 && wide.place(.nan) == 0)
    }

    @Test func neverLetsLabelsOfEventsCoverEachOther() {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<200 {
            let events = (0..<Int.random(in: 1...30, using: &generator)).map { index in
                LabEvent(
                    at: Double.random(in: 0...10, using: &generator), source: "network",
                    text: String(repeating: "x", count: index % 40))
            }.sorted { $0.at < $1.at }
            let lanes = EventLanes(events, right: 700) { 50 + $0 * 65 }
            let shown = lanes.labels.filter { $0.lane != nil }
            #expect(!shown.isEmpty)
            for (index, one) in shown.enumerated() {
                let (from, to) = Self.extent(one)
                #expect(to <= 700.001)
                for other in shown[(index + 1)...] {
                    let (start, end) = Self.extent(other)
                    if one.lane == other.lane { #expect(to <= start || end <= from) }
                    // The line of the one in the higher lane runs down past the other.
                    let (high, low) = (one.lane ?? 0) > (other.lane ?? 0) ? (one, other) : (other, one)
                    let (left, right) = Self.extent(low)
                    if high.lane != low.lane { #expect(high.x <= left + 2.001 || high.x >= right - 2.001) }
                }
            }
        }
    }

    private static func extent(_ label: EventLanes.Label) -> (from: Double, to: Double) {
        let width = PlotText.width(of: label.text, size: 11) + EventLanes.gap
        return label.isLeft ? (label.x - width, label.x) : (label.x, label.x + width)
    }

    @Test func keepsEventsOfOneMomentInTheirOrder() {
        let events = ["first", "second", "third"].map { LabEvent(at: 2, source: "network", text: $0) }
        let lanes = EventLanes(events, right: 700) { $0 * 65 }
        #expect(lanes.labels.map(\.lane) == [2, 1, 0])
        #expect(lanes.lanes == 3)
    }

    @Test func leavesOutTheConnectionsLabelsFirst() {
        let sources = ["network", "transport", "application"]
        let events = (0..<21).map { LabEvent(at: 2 + Double($0) / 1e4, source: sources[$0 % 3], text: "event \($0)") }
        let lanes = EventLanes(events, right: 700) { $0 * 65 }
        let shown = lanes.labels.filter { $0.lane != nil }.map(\.event.source)
        #expect(shown == [String](repeating: "network", count: 7))
        #expect(lanes.labels.count == 21)
    }

    @Test func turnsLabelsAtTheRightEdgeAround() {
        let events = (0..<5).map {
            LabEvent(at: 9 + Double($0) / 10, source: "network", text: "something that happened")
        }
        let lanes = EventLanes(events, right: 700) { 50 + $0 * 65 }
        #expect(lanes.labels.allSatisfy { $0.lane != nil && $0.isLeft })
    }

    @Test func cutsOnlyPeaksThatWouldHideTheRest() {
        let steady = [Double](repeating: 100, count: 99)
        #expect(TimelineHeight.of(steady + [500]) == 500)
        #expect(TimelineHeight.of(steady + [6_000]) == 300)
        #expect(TimelineHeight.of([0, .nan, .infinity]) == nil)
    }

    @Test func writesLengthsWithoutNeedlessDigits() {
        #expect(length(12) == "12" && length(12.34) == "12.3" && length(-0.5) == "-0.5" && length(-0.01) == "0")
        #expect(length(.nan) == "0" && length(1e300) == "1000000")
    }
}
