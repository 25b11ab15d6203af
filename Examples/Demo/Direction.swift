// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation

/// One half of the conversation: what one user sends and the other receives.
struct Direction {
    struct Acknowledgement {
        let time: ContinuousClock.Instant
        let carrier: String
    }

    struct Connection {
        let time: ContinuousClock.Instant
        let carrier: String
        let reason: String
    }

    let sender: String
    let receiver: String
    let text: Text
    /// Acks that the sender got, in order.
    var acknowledgements: [Acknowledgement] = []
    /// Carriers that the sender had, in order.
    var connections: [Connection] = []
    /// What the receiver printed of the sender's lines, in order, each with a newline.
    var received = Data()
    var receivedLines = 0
    /// The sequences of everything that the receiver printed: the channel has both users' messages.
    var sequences: [UInt64] = []

    init(sender: String, receiver: String, text: Text) {
        self.sender = sender
        self.receiver = receiver
        self.text = text
    }

    var name: String { "\(self.sender) to \(self.receiver)" }

    func acknowledged(over carrier: String) -> Int {
        self.acknowledgements.count { $0.carrier == carrier }
    }

    /// The longest time without an ack between two instants; what a fault between them cost the sender.
    func longestSilence(from start: ContinuousClock.Instant, to end: ContinuousClock.Instant?) -> Duration {
        var last = start
        var longest = Duration.zero
        for ack in self.acknowledgements where ack.time > start {
            longest = max(longest, last.duration(to: ack.time))
            last = ack.time
            if let end, ack.time >= end { break }
        }
        return longest
    }

    mutating func senderPrinted(_ event: TernCommand.Event, at time: ContinuousClock.Instant) {
        switch event.event {
        case "ack":
            self.acknowledgements.append(Acknowledgement(time: time, carrier: event.carrier ?? "?"))
        case "connected":
            self.connections.append(
                Connection(time: time, carrier: event.carrier ?? "?", reason: event.reason ?? "no reason given"))
        default: break
        }
    }

    mutating func receiverPrinted(_ event: TernCommand.Event) {
        guard event.event == "message", let sequence = event.sequence else { return }
        self.sequences.append(sequence)
        guard event.sender == self.sender else { return }
        if let text = event.text {
            self.received += Data(text.utf8)
        } else if let payload = event.base64.flatMap({ Data(base64Encoded: $0) }) {
            self.received += payload
        }
        self.received.append(UInt8(ascii: "\n"))
        self.receivedLines += 1
    }
}
