// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

public import NIOCore

/// A field beside the header: a type byte, whose high bit says that a receiver must understand it, a length byte and
/// the value.
public struct MessageExtension: Sendable, Hashable {
    public var type: ExtensionType
    /// A receiver that does not know the type refuses the message; otherwise it ignores the extension.
    public var isCritical: Bool
    public var value: ByteBuffer

    public init(_ type: ExtensionType, isCritical: Bool = false, value: ByteBuffer) {
        self.type = type
        self.isCritical = isCritical
        self.value = value
    }

    public init(_ type: ExtensionType, isCritical: Bool = false, integer: some FixedWidthInteger) {
        self.init(type, isCritical: isCritical, value: ByteBuffer(integer: integer))
    }
}

/// What an extension is. 7 bits on the wire; 0 is padding.
public struct ExtensionType: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: UInt8

    /// `nil` unless `rawValue` is 1 … 127.
    public init?(rawValue: UInt8) {
        guard (1...127).contains(rawValue) else { return nil }
        self.rawValue = rawValue
    }

    private init(known rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// 16 bytes: ``ClientMessageID``.
    public static let clientMessageID = ExtensionType(known: 1)
    /// 8 bytes: ``Epoch``.
    public static let epoch = ExtensionType(known: 2)
    /// 8 bytes: the sequence of the message that was pushed before this one in the same channel.
    public static let previousSequence = ExtensionType(known: 3)
    /// 4 bytes: ``DeviceID`` of who sent.
    public static let senderDevice = ExtensionType(known: 4)
    /// 1 byte: ``Durability``.
    public static let durability = ExtensionType(known: 5)
    /// 2 bytes: ``ErrorCode``.
    public static let errorCode = ExtensionType(known: 6)
    /// 4 bytes: milliseconds to wait before the next try.
    public static let retryAfter = ExtensionType(known: 7)
    /// 2 bytes: the lowest and the highest version that the sender understands.
    public static let supportedVersions = ExtensionType(known: 8)
    /// 1 byte: ``Receipt/Kind``.
    public static let receiptKind = ExtensionType(known: 9)
    /// Up to 64 bytes of UTF-8: the name and version of the client program.
    public static let clientProgram = ExtensionType(known: 10)
    /// Up to 55 bytes: a W3C `traceparent`.
    public static let traceContext = ExtensionType(known: 11)

    /// Whether this version of the protocol gives the type a meaning.
    public var isKnown: Bool { (1...11).contains(self.rawValue) }

    public var description: String { "extension \(self.rawValue)" }
}

/// The extensions of one message, each type at most once, in the order in which they are written.
public struct MessageExtensions: Sendable, Hashable {
    public private(set) var all: [MessageExtension] = []

    public init(_ extensions: [MessageExtension] = []) {
        for item in extensions { self.set(item) }
    }

    /// The extension of that type.
    public subscript(type: ExtensionType) -> MessageExtension? {
        self.all.first { $0.type == type }
    }

    /// Adds the extension, or replaces the one of its type.
    public mutating func set(_ item: MessageExtension) {
        if let index = self.all.firstIndex(where: { $0.type == item.type }) {
            self.all[index] = item
        } else {
            self.all.append(item)
        }
    }

    /// The value as a big-endian integer; `nil` when the extension is absent.
    ///
    /// - Throws: ``ErrorCode/malformed`` when it has another length.
    public func integer<Value: FixedWidthInteger>(
        _ type: ExtensionType, as: Value.Type = Value.self
    ) throws(WireError) -> Value? {
        guard let value = self[type]?.value else { return nil }
        guard value.readableBytes == MemoryLayout<Value>.size,
            let integer = value.getInteger(at: value.readerIndex, as: Value.self)
        else { throw WireError(.malformed, "\(type) has \(value.readableBytes) bytes") }
        return integer
    }

    /// Bytes on the wire, with padding to a multiple of 4.
    public var encodedLength: Int {
        (self.all.reduce(0) { $0 + 2 + $1.value.readableBytes } + 3) / 4 * 4
    }

    func encode(into buffer: inout ByteBuffer) throws(WireError) {
        var written = 0
        for item in self.all {
            guard let length = UInt8(exactly: item.value.readableBytes) else {
                throw WireError(.malformed, "\(item.type) is too long")
            }
            buffer.writeMultipleIntegers(item.type.rawValue | (item.isCritical ? 0x80 : 0), length)
            buffer.writeImmutableBuffer(item.value)
            written += 2 + Int(length)
        }
        buffer.writeRepeatingByte(0, count: (4 - written % 4) % 4)
    }

    /// Reads a whole extension area.
    ///
    /// - Throws: ``ErrorCode/malformed``, or ``ErrorCode/unknownCriticalExtension`` after everything was read.
    init(decoding area: ByteBuffer) throws(WireError) {
        var area = area
        while let first = area.readInteger(as: UInt8.self) {
            guard let type = ExtensionType(rawValue: first & 0x7f) else {
                try Self.checkPadding(first: first, rest: area)
                return
            }
            guard let length = area.readInteger(as: UInt8.self), let value = area.readSlice(length: Int(length)) else {
                throw WireError(.malformed, "\(type) is cut short")
            }
            guard self[type] == nil else { throw WireError(.malformed, "\(type) occurs twice") }
            self.all.append(MessageExtension(type, isCritical: first & 0x80 != 0, value: value))
        }
    }

    private static func checkPadding(first: UInt8, rest: ByteBuffer) throws(WireError) {
        guard first == 0, rest.readableBytes < 3, rest.readableBytesView.allSatisfy({ $0 == 0 }) else {
            throw WireError(.malformed, "the extensions end in something that is not padding")
        }
    }

    /// The first extension that must be understood and is not.
    var unknownCritical: MessageExtension? {
        self.all.first { $0.isCritical && !$0.type.isKnown }
    }
}
