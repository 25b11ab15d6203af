// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import BenchSupport
import Foundation
import Testing

@testable import LabNetwork

extension UInt64 {
    /// On the clock of the network; long after anything that works.
    static var soon: UInt64 { Carrier.now + 5_000_000_000 }
}

extension ProbeSocket {
    func send(_ bytes: [UInt8]) throws -> Int? { try bytes.withUnsafeBytes { try self.send($0) } }

    func receive(before deadline: UInt64) throws -> Int {
        var space = [UInt8](repeating: 0, count: 2_048)
        return try space.withUnsafeMutableBytes { try self.receive(into: $0, before: deadline) }
    }

    var congestionControl: String {
        var name = [UInt8](repeating: 0, count: 16)
        var length = socklen_t(16)
        getsockopt(self.descriptor, Int32(IPPROTO_TCP), TCP_CONGESTION, &name, &length)
        return String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
    }

    var largestSegment: Int32 {
        var size: Int32 = 0
        var length = socklen_t(4)
        getsockopt(self.descriptor, Int32(IPPROTO_TCP), TCP_MAXSEG, &size, &length)
        return size
    }
}

/// A connected client and an unconnected server.
final class UDPPair {
    let client: ProbeSocket
    let server: ProbeSocket
    /// Where the last packet came from, as the server sees it.
    private(set) var peerPort: UInt16 = 0

    init(_ network: EmulatedNetwork, server: String, client: String) throws {
        self.server = ProbeSocket(try network.atServer { try ProbeSocket.open(.udp, at: server) })
        self.client = ProbeSocket(try network.atClient { try ProbeSocket.open(.udp, at: client) })
        try self.client.connect(to: server, port: self.server.port())
    }

    /// There and back.
    ///
    /// - Returns: the client's address, as the server sees it.
    func echo(within seconds: Double = 5) throws -> String {
        let deadline = Carrier.now + UInt64(seconds * 1e9)
        _ = try self.client.send([1, 2, 3])
        var waiting = [pollfd(fd: self.server.descriptor, events: Int16(POLLIN), revents: 0)]
        waiting.append(pollfd(fd: self.client.descriptor, events: Int16(POLLIN), revents: 0))
        guard poll(&waiting, 2, Int32(seconds * 1e3)) > 0 else { throw BenchmarkError("nothing arrives") }
        // An error of the client's socket comes instead.
        guard waiting[0].revents != 0 else { throw BenchmarkError("\(try self.client.receive(before: deadline))") }
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        var bytes = [UInt8](repeating: 0, count: 16)
        let address = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                let count = recvfrom(self.server.descriptor, &bytes, bytes.count, 0, address, &length)
                sendto(self.server.descriptor, bytes, max(count, 0), 0, address, length)
                var text = [CChar](repeating: 0, count: 64)
                var port = [CChar](repeating: 0, count: 16)
                getnameinfo(
                    address, length, &text, 64, &port, 16, NI_NUMERICHOST | NI_NUMERICSERV)
                self.peerPort = UInt16(String(decoding: port.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)) ?? 0
                return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
            }
        }
        _ = try self.client.receive(before: deadline)
        return address
    }
}

final class TCPPair {
    let client: ProbeSocket
    let accepted: ProbeSocket

    init(_ network: EmulatedNetwork, server: String) throws {
        let listener = ProbeSocket(try network.atServer { try ProbeSocket.open(.tcp, at: server) })
        try listener.listen()
        let any = server.contains(":") ? "::" : "0.0.0.0"
        self.client = ProbeSocket(try network.atClient { try ProbeSocket.open(.tcp, at: any) })
        try self.client.connect(to: server, port: listener.port())
        self.accepted = try listener.accept(before: .soon)
        try self.client.wait(for: Int32(POLLOUT), before: .soon)
    }

    /// - Returns: how many bytes of four arrived.
    func sendUp() throws -> Int {
        _ = try self.client.send([1, 2, 3, 4])
        return try self.accepted.receive(before: .soon)
    }
}

extension EmulatedNetwork {
    /// Until the script has done this.
    func waitForEvents(_ texts: [String]) throws {
        var happened: [String] = []
        let deadline = UInt64.soon
        while happened.count < texts.count, Carrier.now < deadline {
            happened += self.takeEvents().map(\.text)
            sched_yield()
        }
        #expect(happened == texts)
    }
}
