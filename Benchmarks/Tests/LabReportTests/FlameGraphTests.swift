// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Testing

@testable internal import LabReport

@Suite struct FlameGraphTests {
    @Test func addsUpFoldedStacks() throws {
        let profile = try StackProfile(folded: "main;read 3\nmain;write;encrypt 5\nmain;read 1\nmain 2\n")
        #expect(profile.sampleCount == 11)
        #expect(profile.folded == "main 2\nmain;read 4\nmain;write;encrypt 5\n")
        #expect(try StackProfile(folded: "").sampleCount == 0)
    }

    @Test(arguments: ["main", "main x", "main -1", " 5", "main 0", "a 1\nnonsense"])
    func refusesWhatIsNoFoldedStack(text: String) {
        #expect(throws: BenchmarkError.self) { try StackProfile(folded: text) }
    }

    @Test func readsWhatPerfPrints() {
        let profile = StackProfile(
            perfScript: """
                NIO-ELT-0-#0
                \t    7f3a2 gnutls_record_send (/usr/lib/x86_64-linux-gnu/libgnutls.so.30.34.3)
                \t    55d10 TernTLS.TLSStream.write(NIOCore.ByteBuffer) throws -> () (/tmp/tern-bench)
                \t    7f001 [unknown] (/usr/lib/libfoo.so.1.2)
                \t    7f000 clone3 (/usr/lib/libc.so.6)

                NIO-ELT-0-#0
                \tffffffff81 entry_SYSCALL_64 ([kernel.kallsyms])
                \t    55d10 TernTLS.TLSStream.write(NIOCore.ByteBuffer) throws -> () (/tmp/tern-bench)
                \t    7f001 [unknown] (/usr/lib/libfoo.so.1.2)
                """)
        #expect(
            profile.folded == """
                NIO-ELT-0-#0;[libfoo];TernTLS.TLSStream.write;entry_SYSCALL_64 (kernel) 1
                NIO-ELT-0-#0;[libfoo];TernTLS.TLSStream.write;gnutls_record_send 1

                """)
    }

    @Test(arguments: [
        (
            "generic specialization <Swift.UInt8> of Swift.Array.reserveCapacity(Swift.Int) -> ()",
            "Swift.Array.reserveCapacity"
        ),
        (
            "TernQUIC.QUICConnection.(takeTurn in _36AA6D0CAF2FADE89C689E54FC87F2AF)() -> ()",
            "TernQUIC.QUICConnection.takeTurn"
        ),
        (
            "closure #1 @Sendable () -> () in TernQUIC.QUICConnection.schedulePump() -> ()",
            "TernQUIC.QUICConnection.schedulePump {…}"
        ),
        (
            "partial apply forwarder for closure #2 (Swift.Int) throws -> A in closure #1 () -> () in static A.B.run<C>(C) -> A",
            "A.B.run {…}"
        ),
        (
            "protocol witness for NIOCore.EventLoop.execute(() -> ()) -> () in conformance A.B : NIOCore.EventLoop in A",
            "NIOCore.EventLoop.execute"
        ),
        (
            "(1) await resume partial function for function signature specialization <Arg[3] = Dead> of static B.S.(send in _E0D)(_: Swift.Int32) async throws -> ()",
            "B.S.send"
        ),
        (
            "(extension in NIOCore):__C.sockaddr_in.withSockAddr<A>((Swift.Int) throws -> A) throws -> A",
            "NIOCore.sockaddr_in.withSockAddr"
        ),
        ("ngtcp2_conn_read_pkt_versioned", "ngtcp2_conn_read_pkt_versioned"),
        ("sem_post@GLIBC_2.2.5", "sem_post"), ("__new_sem_wait_slow64.constprop.0", "__new_sem_wait_slow64"),
        ("a;b", "a,b"),
        ("(((", "((("),
    ])
    func shortensNames(name: String, expected: String) {
        #expect(FrameName(name: name).text == expected)
    }

    @Test func takesAThunkAndItsFunctionForOne() {
        let profile = StackProfile(
            perfScript: """
                thread
                \t 1 write (/lib/libc.so.6)
                \t 2 closure #1 () -> () in A.B.run() -> () (/bin/a)
                \t 3 partial apply forwarder for closure #1 () -> () in A.B.run() -> () (/bin/a)
                """)
        #expect(profile.folded == "thread;A.B.run {…};write 1\n")
    }

    @Test func drawsBoxesAsWideAsTheirSamples() throws {
        let profile = try StackProfile(folded: "main;left 30\nmain;right 10\n")
        let picture = try ParsedMarkup(
            FlameGraph(profile, title: "bulk <server>", subtitle: "2026-11-21").svg)
        // The first are the legend's.
        let boxes = picture.elements.filter { $0.attributes["class"]?.hasPrefix("k-") == true }.dropFirst(5)
        let widths = boxes.compactMap { $0.attributes["width"].flatMap { Double($0) } }
        #expect(widths.count == 3)
        #expect(abs((widths[1] + 0.6) / (widths[2] + 0.6) - 3) < 0.01)
        #expect(abs(widths[0] - widths[1] - widths[2]) < 2)
        // A function stands on its caller, and says more where the pointer rests.
        let tops = boxes.compactMap { $0.attributes["y"].flatMap { Double($0) } }
        #expect(tops[0] > tops[1] && tops[1] == tops[2])
        #expect(picture.text.contains("left · 75.0 % · 30 samples"))
        #expect(picture.text.contains("40 samples · 2026-11-21"))
    }

    @Test func leavesOutWhatCannotBeSeen() throws {
        let profile = try StackProfile(folded: "main;wide 100000\nmain;narrow;narrower 1\n")
        let picture = FlameGraph(profile, title: "t", subtitle: "s").svg
        #expect(picture.contains("wide") && !picture.contains("narrow"))
    }

    @Test func saysThatThereAreNoSamples() throws {
        _ = try ParsedMarkup(FlameGraph(StackProfile(), title: "t", subtitle: "s").svg)
        #expect(FlameGraph(StackProfile(), title: "t", subtitle: "s").svg.contains("no samples"))
    }

    @Test func survivesHostileNamesAndDepth() throws {
        let deep = Array(repeating: "f", count: 5_000).joined(separator: ";")
        let profile = try StackProfile(folded: "\(deep) 1\n</svg><script>\u{1b}[2J;&\"' 3\n")
        let picture = try ParsedMarkup(FlameGraph(profile, title: "</title>", subtitle: "\u{0}").svg)
        #expect(picture.count("script") == 0)
    }

    @Test func keepsTheEndOfALongName() {
        #expect(
            FlameGraph.fitted("TernQUIC.QUICServerEndpoint.receive", to: 40) == "TernQUIC.QUICServerEndpoint.receive")
        #expect(FlameGraph.fitted("TernQUIC.QUICServerEndpoint.receive", to: 30) == "QUICServerEndpoint.receive")
        #expect(FlameGraph.fitted("TernQUIC.QUICServerEndpoint.receive", to: 10) == "receive")
        #expect(FlameGraph.fitted("TernQUIC.QUICServerEndpoint.receive", to: 5) == "rece…")
    }

    @Test(arguments: [
        ("TernQUICCore.QUICConnectionCore.receive", FrameKind.tern), ("NIOPosix.SelectableEventLoop.run", .nio),
        ("swift_retain", .swift), ("Swift.Array.append", .swift), ("[libdispatch]", .swift),
        ("NIO-ELT-0-#1", .library), ("ngtcp2_conn_read_pkt", .library), ("[libgnutls]", .library),
        ("do_syscall_64 (kernel)", .kernel),
    ])
    func tellsWhoseCodeItIs(name: String, kind: FrameKind) {
        #expect(FrameKind(name) == kind)
    }
}
