// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernQMuxCore
package import TernTesting
package import TernTransport

/// A peer that knows its credit, and goes to its edge: frames that are good, or wrong by one, chosen by a seed with a
/// ``FlowModel`` in view.
package struct FlowGenerator {
    package var random: SeededRandom

    package init(seed: UInt64) {
        self.random = SeededRandom(seed: seed)
    }

    package mutating func below(_ bound: UInt64) -> UInt64 { self.random.next() % max(bound, 1) }

    private mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[Int(self.below(UInt64(elements.count)))]
    }

    /// `number`, or now and then one more or less, or something absurd.
    private mutating func around(_ number: UInt64) -> UInt64 {
        switch self.below(150) {
        case 0: number + 1
        case 1: number - min(number, 1)
        case 2: self.pick([0, 1, number / 2, 1 << 32, 1 << 60, (1 << 62) - 1])
        default: number
        }
    }

    /// A stream of any kind, mostly one that is open.
    package mutating func stream(_ model: FlowModel) -> StreamID {
        let direction = self.pick(StreamDirection.allCases)
        let initiator: ConnectionRole = self.pick([.client, .server])
        let open = model.opened(initiator, direction)
        let index = self.random.chance(0.9) ? self.below(open + 1) : self.around(model.allowedStreams(direction))
        return StreamID(index: min(index, 1 << 59), initiator: initiator, direction: direction)
    }

    /// A stream that a frame may name, and now and then any other.
    private mutating func stream(_ model: FlowModel, isSending: Bool) -> StreamID {
        guard self.random.chance(0.99) else { return self.stream(model) }
        let other: ConnectionRole = model.role == .client ? .server : .client
        let open = model.opened(model.role, .bidirectional)
        if open > 0, self.random.chance(0.3) {
            return StreamID(index: self.below(open), initiator: model.role, direction: .bidirectional)
        }
        let own = model.opened(model.role, .unidirectional)
        if isSending, own > 0, self.random.chance(0.4) {
            return StreamID(index: self.below(own), initiator: model.role, direction: .unidirectional)
        }
        let direction: StreamDirection = isSending || self.random.chance(0.6) ? .bidirectional : .unidirectional
        let highest = min(model.opened(other, direction) + 1, model.allowedStreams(direction))
        return StreamID(index: self.below(highest), initiator: other, direction: direction)
    }

    package mutating func frame(_ model: FlowModel) -> QMuxFrame {
        let kind = self.below(20)
        let id = self.stream(model, isSending: kind == 14 || kind == 15)
        let code = self.below(4)
        switch kind {
        case 0...10: return self.streamFrame(id, model)
        case 11: return .resetStream(id, code: code, finalSize: self.finalSize(id, model))
        case 12, 13:
            let finalSize = self.finalSize(id, model)
            let front = model.streams[id]?.front ?? 0
            let reliable = self.pick([0, front, front + 1, finalSize, finalSize / 2])
            return .resetStreamAt(
                id, code: code, finalSize: finalSize,
                reliableSize: self.random.chance(0.01) ? finalSize + 1 : min(reliable, finalSize))
        case 14: return .stopSending(id, code: code)
        case 15: return .maxStreamData(id, self.around((model.streams[id]?.peerLimit ?? 0) + self.below(200)))
        case 16: return .maxData(self.around(self.below(6000)))
        case 17: return .maxStreams(self.pick(StreamDirection.allCases), self.around(self.below(20)))
        case 18: return .streamDataBlocked(id, self.around(100))
        default: return self.pick([.dataBlocked(7), .padding(count: 3), .streamsBlocked(.bidirectional, 1 << 60)])
        }
    }

    private mutating func streamFrame(_ id: StreamID, _ model: FlowModel) -> QMuxFrame {
        let stream = model.streams[id]
        let front = stream?.front ?? 0
        let inOrder = self.around(front)
        let offset =
            model.isOrdered ? inOrder : self.pick([inOrder, self.below(front + 1), front + self.below(20)])
        let room = self.room(id, model, from: offset)
        let toEnd = (stream?.finalSize).map { $0 - min($0, offset) }
        let most = min(room, toEnd ?? room)
        let isOver = stream?.isForgotten == true && self.random.chance(0.95)
        let count = isOver ? 0 : self.pick([0, 1, self.below(50), self.below(most + 1), most])
        let end = min(self.around(min(count, most)), 1200)
        let isLast = toEnd.map { $0 == end } ?? self.random.chance(0.1)
        let start = min(offset, (1 << 62) - 1)
        return .stream(
            id, offset: start, FlowModel.payload(of: id, at: start, count: Int(end)),
            finished: self.random.chance(0.005) ? !isLast : isLast)
    }

    private mutating func finalSize(_ id: StreamID, _ model: FlowModel) -> UInt64 {
        let stream = model.streams[id]
        let front = stream?.highest ?? 0
        let edge = front + self.room(id, model, from: front)
        let size = self.pick([front, front + 1, front + self.below(100), edge])
        return min(self.around(stream?.finalSize ?? min(size, edge)), (1 << 62) - 2)
    }

    /// How far the stream may go beyond `offset`.
    private func room(_ id: StreamID, _ model: FlowModel, from offset: UInt64) -> UInt64 {
        let charged = model.streams[id]?.charged ?? 0
        let left = model.allowedBytes - min(model.allowedBytes, model.chargedBytes)
        let edge = min(model.streams[id]?.allowed ?? UInt64(model.limits.streamWindow), charged + left)
        return edge - min(edge, offset)
    }
}
