// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Tern

/// HTTP/0.9 on QUIC streams, as the quic-interop-runner uses it: `GET /path`, a line end, and the file comes back.
enum HTTP09 {
    static let applicationProtocol = "hq-interop"
    /// The code with which a stream ends that has no answer; the protocol defines none.
    static let noSuchFile: UInt64 = 1
    /// A request that is longer is none.
    private static let longestRequest = 8 << 10

    static func request(for path: String) -> ByteBuffer {
        ByteBuffer(string: "GET \(path)\r\n")
    }

    /// Reads a request to its line end or to the end of the stream.
    ///
    /// - Returns: the path that it names, percent-decoded and without a query; `nil` when it is no request.
    static func readRequest(from stream: Tern.Stream) async throws -> String? {
        var received = ByteBuffer()
        while received.readableBytes <= Self.longestRequest {
            if received.readableBytesView.contains(UInt8(ascii: "\n")) { break }
            guard var bytes = try await stream.read() else { break }
            received.writeBuffer(&bytes)
        }
        return Self.path(ofRequest: String(buffer: received))
    }

    static func path(ofRequest text: String) -> String? {
        let line = text.unicodeScalars.prefix { $0 != "\r" && $0 != "\n" }
        let words = String(line).split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard words.count == 2, words[0] == "GET", words[1].hasPrefix("/") else { return nil }
        return FileProtocol.file(named: words[1])
    }
}
