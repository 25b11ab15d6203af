// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
package import NIOCore
package import Tern

/// How files are asked for and answered.
package enum FileProtocol: Sendable {
    /// What most test cases use: HTTP/0.9 (ALPN `hq-interop`).
    case http09
    /// ALPN `h3`.
    case http3

    package var applicationProtocol: String {
        switch self {
        case .http09: HTTP09.applicationProtocol
        case .http3: HTTP3.applicationProtocol
        }
    }

    /// With which code a client closes a connection that it needs no more.
    package var noError: UInt64 {
        switch self {
        case .http09: 0
        case .http3: HTTP3.noError
        }
    }

    /// With which code a stream ends that can't be served.
    package var rejected: UInt64 {
        switch self {
        case .http09: HTTP09.noSuchFile
        case .http3: HTTP3.rejected
        }
    }

    package func request(for path: String, authority: String) -> ByteBuffer {
        switch self {
        case .http09: HTTP09.request(for: path)
        case .http3: HTTP3.request(for: path, authority: authority)
        }
    }

    /// Reads a request from its stream.
    ///
    /// - Returns: the path that it names, percent-decoded and without a query; `nil` when it is no request.
    package func readRequest(from stream: Tern.Stream) async throws -> String? {
        guard case .http3 = self else { return try await HTTP09.readRequest(from: stream) }
        var frames = HTTP3.Frames()
        while let bytes = try await stream.read() {
            frames.receive(bytes)
            while let event = try frames.next() {
                guard case .headers(let fields) = event else { continue }
                guard fields.contains(where: { $0.name == ":method" && $0.value == "GET" }),
                    let path = fields.first(where: { $0.name == ":path" })?.value
                else { return nil }
                return Self.file(named: path)
            }
        }
        return nil
    }

    /// What goes before the bytes of a file.
    func answerHead(fileSize: Int) -> ByteBuffer {
        switch self {
        case .http09: ByteBuffer()
        case .http3: HTTP3.answerHead(fileSize: fileSize)
        }
    }

    /// The answer for a file that is not there; `nil` when only a reset says so.
    package var noSuchFile: ByteBuffer? {
        switch self {
        case .http09: nil
        case .http3: HTTP3.noSuchFile
        }
    }

    /// Sends a file as the answer to a request, a piece at a time: what the client does not take stays in the file.
    package func answer(with file: File, on stream: Tern.Stream) async throws {
        let head = self.answerHead(fileSize: file.size)
        if head.readableBytes > 0 { try await stream.write(head) }
        while case let bytes = try file.read(), bytes.readableBytes > 0 { try await stream.write(bytes) }
        try await stream.finish()
    }

    /// What belongs to the connection and to no file: to be kept as long as the connection.
    package func openControlStream(on connection: Connection) async throws -> Tern.Stream? {
        guard case .http3 = self else { return nil }
        let stream = try await connection.openStream(.unidirectional)
        try await stream.write(HTTP3.controlStream)
        return stream
    }

    /// The path of a file in a request's path.
    static func file(named path: some StringProtocol) -> String? {
        path.prefix { $0 != "?" && $0 != "#" }.removingPercentEncoding
    }
}

/// The bytes of a file in an answer.
package struct Answer {
    /// The answer is not one, or says that there is no such file.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    private let isPlain: Bool
    private var frames = HTTP3.Frames()
    private var hasHead = false

    package init(_ fileProtocol: FileProtocol) {
        self.isPlain = fileProtocol == .http09
    }

    /// - Returns: the bytes of the file that `bytes` of the stream have.
    package mutating func receive(_ bytes: ByteBuffer) throws -> [ByteBuffer] {
        guard !self.isPlain else { return [bytes] }
        self.frames.receive(bytes)
        var pieces: [ByteBuffer] = []
        while let event = try self.frames.next() {
            switch event {
            case .data(let piece):
                pieces.append(piece)
            case .headers(let fields):
                if !self.hasHead, let status = fields.first(where: { $0.name == ":status" })?.value {
                    guard status == "200" else { throw Failure(description: "the server's status is \(status)") }
                    self.hasHead = true
                }
            }
        }
        return pieces
    }

    /// The stream ended.
    package func finish() throws {
        guard self.isPlain || self.hasHead && self.frames.isAtBoundary else {
            throw Failure(description: "the answer ended in the middle")
        }
    }
}
