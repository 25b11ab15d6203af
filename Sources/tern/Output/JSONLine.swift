// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// One JSON object on one line, its fields in the order in which they were added (RFC 8259).
///
/// The first field is always `event`; Docs/COMMAND.md lists the others. Fields without a value are left out.
struct JSONLine {
    private var text: String

    init(event: String) {
        self.text = "{\"event\":\(Self.quoted(event))"
    }

    /// The object with its line end.
    var line: String { self.text + "}\n" }

    mutating func add(_ name: String, _ value: String?) {
        if let value { self.append(name, Self.quoted(value)) }
    }

    /// Numbers above 2^53 would not survive every JSON reader: those are strings in Tern's output.
    mutating func add(_ name: String, _ value: (some BinaryInteger)?) {
        if let value { self.append(name, String(value)) }
    }

    mutating func add(_ name: String, _ value: Bool?) {
        if let value { self.append(name, value ? "true" : "false") }
    }

    /// A duration in milliseconds, to the microsecond.
    mutating func add(milliseconds name: String, _ value: TimeAmount?) {
        if let value { self.append(name, value.millisecondsText) }
    }

    /// A payload: as `text` when it is valid UTF-8, else as `base64` (RFC 4648, section 4).
    mutating func add(payload: ByteBuffer) {
        if let text = String(validating: payload.readableBytesView, as: UTF8.self) {
            self.add("text", text)
        } else {
            self.add("base64", Self.base64(payload.readableBytesView))
        }
    }

    private mutating func append(_ name: String, _ value: String) {
        self.text += ",\(Self.quoted(name)):\(value)"
    }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            // Control characters must be escaped; U+2028 and U+2029 end a line for some readers; and whoever looks at the line
            // on a terminal shall see what is there.
            case _ where !scalar.isPrintable:
                for unit in UTF16.encode(scalar) ?? UTF16.EncodedScalar() {
                    let digits = String(unit, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
                }
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    private static func base64(_ bytes: ByteBufferView) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        var rest = bytes[...]
        while !rest.isEmpty {
            let group = rest.prefix(3)
            rest = rest.dropFirst(3)
            let bits = group.enumerated().reduce(0) { $0 | Int($1.element) << (16 - 8 * $1.offset) }
            for index in 0..<4 {
                text.append(index <= group.count ? alphabet[bits >> (18 - 6 * index) & 63] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

extension TimeAmount {
    /// Milliseconds with three decimals, such as `12.345`.
    var millisecondsText: String {
        let microseconds = self.nanoseconds / 1_000
        let decimals = String(abs(microseconds % 1_000))
        let sign = microseconds < 0 ? "-" : ""
        return
            "\(sign)\(abs(microseconds / 1_000)).\(String(repeating: "0", count: 3 - decimals.utf8.count))\(decimals)"
    }
}
