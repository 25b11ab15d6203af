// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Which port outside stands for which port of the client. Zero is no port.
struct PortTable {
    private var outside: [UInt16] = []
    private var inside: [UInt16] = []
    private var mappings = 0
    private var next: UInt16

    /// - Parameter start: the first port to be given.
    init(start: UInt16) {
        self.next = max(start, Self.lowest)
    }

    private static let lowest: UInt16 = 1_024

    /// New mappings go on where the old ones stopped, so that they differ.
    mutating func forget() {
        self.outside = []
        self.inside = []
        self.mappings = 0
    }

    func inside(of port: UInt16) -> UInt16? {
        guard !self.inside.isEmpty, self.inside[Int(port)] != 0 else { return nil }
        return self.inside[Int(port)]
    }

    func outside(of port: UInt16) -> UInt16? {
        guard !self.outside.isEmpty, self.outside[Int(port)] != 0 else { return nil }
        return self.outside[Int(port)]
    }

    /// - Returns: the port outside, a new one if need be; `nil` when all are in use.
    mutating func map(_ port: UInt16) -> UInt16? {
        guard port != 0 else { return nil }
        if let known = self.outside(of: port) { return known }
        guard self.mappings < Int(UInt16.max - Self.lowest) else { return nil }
        if self.outside.isEmpty {
            self.outside = Array(repeating: 0, count: 1 << 16)
            self.inside = Array(repeating: 0, count: 1 << 16)
        }
        while self.inside[Int(self.next)] != 0 { self.advance() }
        let given = self.next
        self.advance()
        self.outside[Int(port)] = given
        self.inside[Int(given)] = port
        self.mappings += 1
        return given
    }

    private mutating func advance() {
        self.next = self.next == .max ? Self.lowest : self.next + 1
    }
}
