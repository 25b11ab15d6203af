// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// What an acknowledgement promises about the disk. One byte on the wire.
public struct Durability: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    public let rawValue: UInt8

    public init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// The message was flushed to stable storage before it was acknowledged: it survives a loss of power.
    public static let full = Durability(rawValue: 1)
    /// The message was handed to the operating system: it survives the end of the process, not a loss of power.
    public static let normal = Durability(rawValue: 2)

    public var description: String {
        switch self {
        case .full: "full"
        case .normal: "normal"
        default: "durability \(self.rawValue)"
        }
    }
}
