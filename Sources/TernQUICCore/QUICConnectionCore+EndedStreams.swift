// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import TernTransport

// ngtcp2 0.12 never frees a unidirectional stream of the peer (its 1d591bde, in 1.0), and its interface has no way to make
// it. What it keeps is 240 bytes for each, and 16 KB if the frames came in another order: a peer that opens and ends
// streams for ever would take memory for ever. So ngtcp2's memory of such a connection is charged to the window budget.
extension QUICConnectionCore {
    static var keepsEndedStreams: Bool { tern_quic_keeps_ended_streams() }
    /// What ngtcp2 may have allocated before it is charged.
    static var freeMemory: Int { 1 << 20 }
    /// How much is charged at once.
    static var memoryStep: Int { 256 << 10 }
    /// What a connection without a budget may be charged with.
    static var memoryWithoutBudget: Int { 128 << 20 }
    /// The memory is looked at once in so many streams.
    private static var streamsPerLook: Int { 32 }

    /// Called when a unidirectional stream of the peer has ended.
    ///
    /// - Returns: `false` when there is no memory for it; the connection is closed then.
    func canKeepEndedStream() -> Bool {
        guard Self.keepsEndedStreams else { return true }
        self.endedStreamsKept += 1
        guard self.endedStreamsKept.isMultiple(of: Self.streamsPerLook) else { return true }
        let missing = self.native.memory - Self.freeMemory - self.endedStreamsCharge
        guard missing > 0 else {
            // Some of it was for packets in flight.
            let surplus = min(self.endedStreamsCharge, -missing / Self.memoryStep * Self.memoryStep)
            self.endedStreamsCharge -= surplus
            self.windowShare.shrink(by: surplus)
            return true
        }
        let charge = (missing + Self.memoryStep - 1) / Self.memoryStep * Self.memoryStep
        let isAllowed =
            self.configuration.windowBudget != nil || self.endedStreamsCharge + charge <= Self.memoryWithoutBudget
        guard isAllowed, self.windowShare.grow(byExactly: charge) else {
            self.fail(
                code: TransportErrorCode.internalError,
                "the peer opened more unidirectional streams than this version of ngtcp2 can forget",
                as: .limitExceeded)
            return false
        }
        self.endedStreamsCharge += charge
        return true
    }
}
