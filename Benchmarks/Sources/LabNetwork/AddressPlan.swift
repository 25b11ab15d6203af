// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import LabLink

/// Which addresses the emulated network has. It is nobody else's, so they are always the same.
struct AddressPlan {
    let server4: [UInt8] = [10, 77, 0, 1]
    let server6: [UInt8] = Self.address6(subnet: 0, host: 1)
    let accesses: [AccessAddresses]

    static let maximumAccesses = 16

    init(accesses: Int) {
        self.accesses = (1...accesses).map { subnet in
            AccessAddresses(
                client4: [10, 77, UInt8(subnet), 2], client6: Self.address6(subnet: UInt8(subnet), host: 2),
                outside4: [10, 77, UInt8(subnet), 100], outside6: Self.address6(subnet: UInt8(subnet), host: 100))
        }
    }

    /// The network that an access's addresses are in, the translator's included.
    static func network4(of access: AccessAddresses) -> [UInt8] { access.client4.prefix(3) + [0] }
    static func network6(of access: AccessAddresses) -> [UInt8] {
        access.client6.prefix(8) + [UInt8](repeating: 0, count: 8)
    }

    /// Addresses of the kind that everybody may use inside (RFC 4193).
    private static func address6(subnet: UInt8, host: UInt8) -> [UInt8] {
        [0xfd, 0x77, 0, 0, 0, 0, 0, subnet, 0, 0, 0, 0, 0, 0, 0, host]
    }
}

extension [UInt8] {
    /// An address as people write it (RFC 5952 for those of IPv6, as far as ours need it).
    var text: String {
        guard self.count == 16 else { return self.map(String.init).joined(separator: ".") }
        let words = stride(from: 0, to: 16, by: 2).map { Int(self[$0]) << 8 | Int(self[$0 + 1]) }
        let firstZeros = words.firstIndex(of: 0) ?? 8
        // Ours have their longest run of zeros before the last word.
        let tail = words.lastIndex { $0 != 0 } ?? 7
        let lastZero = words[..<tail].lastIndex { $0 != 0 }.map { $0 + 1 } ?? firstZeros
        let (head, rest) = (words[..<lastZero], words[tail...])
        func joined(_ words: ArraySlice<Int>) -> String { words.map { String($0, radix: 16) }.joined(separator: ":") }
        return joined(head) + "::" + joined(rest)
    }
}
