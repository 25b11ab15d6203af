// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernTransport
import Testing

@Suite struct PrintableTextTests {
    @Test func whatShowsItselfStays() {
        for text in ["", "hello, world", "Наташа שרה ليلى 王小明 🦆 e\u{301}", "a\u{a0}b"] {
            #expect(text.printable() == text)
        }
    }

    @Test(arguments: [
        "\u{0}", "\n", "\r", "\u{1b}", "\u{7f}", "\u{85}", "\u{9b}", "\u{2028}", "\u{2029}", "\u{202e}", "\u{2066}",
        "\u{200b}", "\u{feff}", "\u{ad}", "\u{e000}", "\u{e0041}", "\u{378}", "\u{200d}",
    ])
    func whatForgesOrHidesIsReplaced(_ character: String) {
        #expect("a\(character)b".printable() == "a\u{fffd}b")
    }

    @Test func joinersStayWhereTextsNeedThem() {
        #expect("👩\u{200d}💻 می\u{200c}خواهم".printable(keepsJoiners: true) == "👩\u{200d}💻 می\u{200c}خواهم")
        #expect("a\u{202e}b".printable(keepsJoiners: true) == "a\u{fffd}b")
    }

    @Test func thePeersReasonForgesNoLine() {
        let error = TransportError(.application, message: "a\n\u{1b}]0;b", wireCode: 1, initiator: .peer)
        #expect(error.description == "\(error.code)(0x1) by the peer: a\u{fffd}\u{fffd}]0;b")
        #expect(error.message == "a\n\u{1b}]0;b", "programs have it as it came")
    }

    @Test func whatIsLongIsCut() {
        #expect(String(repeating: "x", count: 5).printable(atMost: 5) == "xxxxx")
        #expect(String(repeating: "x", count: 6).printable(atMost: 5) == "xxxxx\u{2026}")
    }

    /// An error that was made of another one says what that says once.
    @Test func aCauseIsNotSaidTwice() {
        let cause = TransportError(.unreachable, message: "no.such.invalid does not resolve")
        let error = TransportError(
            .cannotListen, message: "cannot listen on no.such.invalid:1: \(cause.message)", cause: cause)
        #expect(
            error.description == "cannotListen: cannot listen on no.such.invalid:1: no.such.invalid does not resolve")
        let other = TransportError(.carrierLost, message: "the link went down", cause: cause)
        #expect(other.description.hasSuffix("(unreachable: no.such.invalid does not resolve)"))
    }
}
