// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernQMuxCore

/// Variable-length integers (RFC 9000, section 16) of all four lengths, in turn.
public struct VariableIntegers {
    private static let values: [UInt64] = [37, 15_293, 494_878_333, 151_288_809_941_952_652]
    private var buffer = ByteBuffer()

    public init() {
        self.buffer.reserveCapacity(64)
    }

    /// Writes and reads `count` integers.
    ///
    /// - Returns: the sum of what was read.
    public mutating func writeAndRead(_ count: Int) -> UInt64 {
        var sum: UInt64 = 0
        for index in 0..<count {
            self.buffer.clear()
            self.buffer.writeVariableInteger(Self.values[index & 3])
            sum &+= self.buffer.readVariableInteger() ?? 0
        }
        return sum
    }
}
