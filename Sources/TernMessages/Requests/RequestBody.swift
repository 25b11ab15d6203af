// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A value with a form in the body of a request or a response.
///
/// Bodies may grow at their end: a reader ignores what follows the fields that it knows.
public protocol WireBody: Sendable, Hashable {
    func encode(into buffer: inout ByteBuffer)
    /// - Throws: ``ErrorCode/malformed`` when a field is cut short or out of range, ``ErrorCode/invalidName``.
    init(decoding buffer: inout ByteBuffer) throws(WireError)
}

/// A request and the type of its answer.
public protocol RequestBody: WireBody {
    associatedtype Answer: WireBody
    static var resource: Resource { get }
}

extension RequestBody {
    public func frame(identifier: UInt64) -> RequestFrame {
        RequestFrame(identifier: identifier, resource: Self.resource, body: self.encodedBody())
    }

    /// The answer in a response.
    ///
    /// - Throws: the ``Failure`` that the response says, or ``WireError`` when it cannot be read.
    public static func answer(in response: RequestFrame) throws -> Answer {
        var body = response.body
        guard response.status == .none else { throw try RequestFailure(decoding: &body).failure(response.status) }
        return try Answer(decoding: &body)
    }
}

extension WireBody {
    public func encodedBody() -> ByteBuffer {
        var buffer = ByteBuffer()
        self.encode(into: &buffer)
        return buffer
    }
}

/// The body of a response whose status is not 0: flags (bit 0: retryable), milliseconds to wait, a sentence.
public struct RequestFailure: WireBody {
    public var isRetryable: Bool
    /// Milliseconds; 0 for "not said".
    public var retryAfter: UInt32
    public var text: String

    public init(_ failure: Failure) {
        self.isRetryable = failure.isRetryable
        self.retryAfter = failure.retryAfter ?? 0
        self.text = failure.text
    }

    public func failure(_ code: ErrorCode) -> Failure {
        Failure(
            code, self.text, isRetryable: self.isRetryable, retryAfter: self.retryAfter == 0 ? nil : self.retryAfter)
    }

    public func encode(into buffer: inout ByteBuffer) {
        let text = self.text.utf8.prefix(Int(UInt16.max))
        buffer.writeMultipleIntegers(UInt8(self.isRetryable ? 1 : 0), self.retryAfter, UInt16(text.count))
        buffer.writeBytes(text)
    }

    public init(decoding buffer: inout ByteBuffer) throws(WireError) {
        guard let (flags, retryAfter, count) = buffer.readMultipleIntegers(as: (UInt8, UInt32, UInt16).self),
            let text = buffer.readSlice(length: Int(count))
        else { throw WireError(.malformed, "a failure is cut short") }
        self.isRetryable = flags & 1 != 0
        self.retryAfter = retryAfter
        self.text = String(decoding: text.readableBytesView, as: UTF8.self)
    }
}

/// No fields.
public struct EmptyBody: WireBody {
    public init() {}
    public func encode(into buffer: inout ByteBuffer) {}
    public init(decoding buffer: inout ByteBuffer) throws(WireError) {}
}

/// Does nothing; for checks and for measuring.
public struct NoOperation: RequestBody {
    public typealias Answer = EmptyBody
    public static let resource = Resource.noOperation

    public init() {}
    public func encode(into buffer: inout ByteBuffer) {}
    public init(decoding buffer: inout ByteBuffer) throws(WireError) {}
}
