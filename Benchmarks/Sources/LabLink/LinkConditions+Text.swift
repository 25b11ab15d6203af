// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

extension NetworkChange.What {
    /// A few words for people, such as "down: 20 Mbit/s, 40 ms, 1 % loss".
    package var text: String {
        switch self {
        case .up(let conditions): "up: \(conditions.text)"
        case .down(let conditions): "down: \(conditions.text)"
        case .link(let isUp): isUp ? "link up" : "link down"
        case .udp(let treatment): treatment.text
        case .silentMTU(let bytes): bytes.map { "packets above \($0) bytes vanish" } ?? "packets of all sizes pass"
        case .rebind: "NAT forgets its mappings"
        case .addressRemoved: "address removed"
        case .addressAdded: "address added"
        case .preferred: "preferred access"
        }
    }
}

extension DirectionConditions {
    /// A few words for people, such as "20 Mbit/s, 40 ms, 1 % loss".
    package var text: String {
        var parts = [self.bitsPerSecond.map(Self.rate) ?? "no limit"]
        let jitter = self.jitter > 0 ? " ± \(Self.short(self.jitter * 1e3))" : ""
        parts.append(
            "\(Self.short(self.delay * 1e3))\(jitter) ms\(self.reorders && self.jitter > 0 ? " reordering" : "")")
        switch self.loss {
        case .none: break
        case .random(let probability): parts.append("\(Self.short(probability * 100)) % loss")
        case .bursts(let enter, let leave, let inside):
            let share = enter + leave > 0 ? enter / (enter + leave) * inside : 0
            parts.append("\(Self.short(share * 100)) % loss in bursts")
        }
        return parts.joined(separator: ", ")
    }

    static func rate(_ bitsPerSecond: Double) -> String {
        bitsPerSecond >= 1e9
            ? "\(self.short(bitsPerSecond / 1e9)) Gbit/s"
            : bitsPerSecond >= 1e6
                ? "\(self.short(bitsPerSecond / 1e6)) Mbit/s"
                : "\(self.short(bitsPerSecond / 1e3)) kbit/s"
    }

    /// At most two decimals.
    private static func short(_ value: Double) -> String {
        let rounded = (value * 100).rounded() / 100
        return rounded == rounded.rounded() && abs(rounded) < 1e9 ? "\(Int(rounded))" : "\(rounded)"
    }
}

extension UDPTreatment {
    /// A few words for people.
    package var text: String {
        switch self {
        case .carried: "UDP carried"
        case .blocked: "UDP blocked"
        case .refused: "UDP refused"
        case .throttled(let bitsPerSecond): "UDP throttled to \(DirectionConditions.rate(bitsPerSecond))"
        }
    }
}
