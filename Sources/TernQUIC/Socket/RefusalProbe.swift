// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CTernSystem
internal import NIOCore
internal import TernTransport

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// Finds out early that nobody will answer at an address: a connected socket beside the real one that sends one byte
/// and listens for the ICMP error. It sends only when no answer came in a while: a server that is there, and whatever is on the
/// way to it, should see nothing before the client's first packet.
///
/// The real socket cannot hear it: only connected sockets do, and NIO closes a datagram channel for most of these
/// errors. Confined to its event loop.
final class RefusalProbe {
    private let eventLoop: any EventLoop
    private var descriptor: CInt
    private var nextCheck: Scheduled<Void>?
    private let onRefusal: (TransportError) -> Void

    /// Opens the probe's socket.
    ///
    /// - Parameter onRefusal: called at most once, on the event loop, on a later turn.
    /// - Throws: why the kernel has no way to `address` at all.
    init(
        address: SocketAddress, eventLoop: any EventLoop, onRefusal: @escaping (TransportError) -> Void
    ) throws(TransportError) {
        self.eventLoop = eventLoop
        self.onRefusal = onRefusal
        self.descriptor = address.withSockAddr { address, _ in tern_udp_probe_open(address) }
        guard self.descriptor >= 0 else { throw Self.error(-self.descriptor, address: address) }
        let bound = NIOLoopBound(WeakProbe(probe: self), eventLoop: eventLoop)
        self.nextCheck = eventLoop.scheduleTask(in: Self.patience) { bound.value.probe?.send(to: address) }
    }

    deinit {
        self.stop()
    }

    /// The local address that packets to the probed address leave from; the port is the probe's own.
    var localAddress: SocketAddress? {
        guard self.descriptor >= 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = tern_udp_probe_local_address(self.descriptor, &bytes)
        guard count > 0 else { return nil }
        return try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes.prefix(count)), port: 0)
    }

    /// Closes the probe's socket.
    func stop() {
        self.nextCheck?.cancel()
        self.nextCheck = nil
        guard self.descriptor >= 0 else { return }
        tern_udp_probe_close(self.descriptor)
        self.descriptor = -1
    }

    private func send(to address: SocketAddress) {
        guard self.descriptor >= 0 else { return }
        let code = tern_udp_probe_send(self.descriptor)
        guard code != 0 else { return self.scheduleCheck(after: Self.firstCheck, address: address) }
        self.stop()
        self.onRefusal(Self.error(code, address: address))
    }

    /// Looks again when twice the time has passed: an answer is found at most one round trip late.
    private func scheduleCheck(after delay: TimeAmount, address: SocketAddress) {
        guard delay < Self.lastCheck else { return self.stop() }
        let bound = NIOLoopBound(WeakProbe(probe: self), eventLoop: self.eventLoop)
        self.nextCheck = self.eventLoop.scheduleTask(in: delay) {
            bound.value.probe?.check(delay: delay, address: address)
        }
    }

    private func check(delay: TimeAmount, address: SocketAddress) {
        guard self.descriptor >= 0 else { return }
        let code = tern_udp_probe_error(self.descriptor)
        guard code != 0 else { return self.scheduleCheck(after: delay * 2, address: address) }
        self.stop()
        self.onRefusal(Self.error(code, address: address))
    }

    private static func error(_ code: CInt, address: SocketAddress) -> TransportError {
        let cause = IOError(errnoCode: code, reason: "UDP")
        guard code == ECONNREFUSED else {
            return TransportError(
                .unreachable, message: "\(address.hostAndPort) cannot be reached over UDP", isRetrySafe: true,
                cause: cause)
        }
        return TransportError(
            .connectionRefused, message: "nobody listens at \(address.hostAndPort) over UDP",
            initiator: .peer, isRetrySafe: true, cause: cause)
    }

    private static let patience = TimeAmount.milliseconds(20)
    private static let firstCheck = TimeAmount.milliseconds(1)
    private static let lastCheck = TimeAmount.seconds(4)

    private struct WeakProbe {
        weak var probe: RefusalProbe?
    }
}
