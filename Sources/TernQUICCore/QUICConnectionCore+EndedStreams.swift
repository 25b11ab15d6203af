// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import TernTransport

// ngtcp2 0.12 never frees a unidirectional stream of the peer (its 1d591bde, in 1.0), and its interface has no way to make
// it. A peer that opens and ends streams for ever would take memory for ever, so what they keep is charged.
extension QUICConnectionCore {
    static var keepsEndedStreams: Bool { tern_quic_keeps_ended_streams() }
    /// What ngtcp2 keeps of a stream: about 230 bytes, and several times that if its frames came in another order.
    static var endedStreamBytes: Int { 1024 }
    /// How many streams are charged at once. The first ones are free.
    static var endedStreamsPerCharge: Int { 4096 }
    /// How many streams a connection without a budget may open and end.
    static var endedStreamsWithoutBudget: Int { 1 << 18 }

    /// Called when a unidirectional stream of the peer has ended.
    ///
    /// - Returns: `false` when there is no memory for it; the connection is closed then.
    func canKeepEndedStream() -> Bool {
        guard Self.keepsEndedStreams else { return true }
        self.endedStreamsKept += 1
        guard self.endedStreamsKept.isMultiple(of: Self.endedStreamsPerCharge) else { return true }
        let isGranted =
            self.configuration.windowBudget == nil
            ? self.endedStreamsKept < Self.endedStreamsWithoutBudget
            : self.windowShare.grow(byExactly: Self.endedStreamsPerCharge * Self.endedStreamBytes)
        if !isGranted {
            self.fail(
                code: TransportErrorCode.internalError,
                "the peer opened more unidirectional streams than this version of ngtcp2 can forget", as: .limitExceeded
            )
        }
        return isGranted
    }
}
