// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Decides for one packet after the other whether it is lost.
struct LossProcess {
    /// Changing it keeps the spell that a process of bursts is in.
    var loss: Loss
    private var generator: SeededGenerator
    private var isInBadSpell = false

    init(_ loss: Loss, generator: SeededGenerator) {
        self.loss = loss
        self.generator = generator
    }

    mutating func losesNext() -> Bool {
        switch self.loss {
        case .none:
            return false
        case .random(let probability):
            return self.generator.fraction() < probability
        case .bursts(let enter, let leave, let inside):
            // Two numbers for each packet, whatever becomes of it: what is lost then depends on the packet's number
            // alone.
            let (change, fate) = (self.generator.fraction(), self.generator.fraction())
            if change < (self.isInBadSpell ? leave : enter) { self.isInBadSpell.toggle() }
            return self.isInBadSpell && fate < inside
        }
    }
}
