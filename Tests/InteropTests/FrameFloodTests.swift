// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Testing

/// `tern serve` under floods of frames that no honest client sends; the attacks are in Peers/frame_floods.py.
@Suite(.serialized, .needsPythonPeer, .timeLimit(.minutes(15)))
struct FrameFloodTests {
    @Test("Frames without end")
    func frames() async throws {
        let server = try await ServedTern(.token)
        try await server.run("frame_floods.py", carrier: "quic")
        await server.stop()
    }
}
