// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Lets a listening socket rest when the system cannot give it a connection, and says so.
///
/// Without it a process without free descriptors burns a core: the connection stays in the kernel's queue, so the socket stays
/// readable, and NIO tries again at once.
final class AcceptGate: ChannelInboundHandler {
    typealias InboundIn = any Channel

    private let logger: Logger
    private var backoff = AcceptBackoff()
    private var rest: Scheduled<Void>?

    init(logger: Logger) {
        self.logger = logger
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.backoff.accepted()
        context.fireChannelRead(data)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError, let reason = Self.reason(error.errnoCode) else {
            return context.fireErrorCaught(error)
        }
        let decision = self.backoff.failed(at: .now())
        if decision.warns {
            self.logger.warning(
                "cannot accept TCP connections: \(reason); not said again for \(RareWarning.interval.inWords)"
            )
        }
        self.pause(context.channel, for: decision.rest)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.rest?.cancel()
        self.rest = nil
        context.fireChannelInactive()
    }

    /// To leave out the next read would not do: the one that failed is still pending, and NIO goes on waiting for it.
    private func pause(_ channel: any Channel, for time: TimeAmount) {
        guard self.rest == nil else { return }
        try? channel.syncOptions?.setOption(.autoRead, value: false)
        self.rest = channel.eventLoop.assumeIsolated().scheduleTask(in: time) {
            self.rest = nil
            try? channel.syncOptions?.setOption(.autoRead, value: true)
        }
    }

    /// What is missing, and where more of it comes from; `nil` for errors that say nothing about the next connection.
    private static func reason(_ code: CInt) -> String? {
        switch code {
        case EMFILE:
            "the process may open no more than \(ProcessDescriptors.now.limit) descriptors (ulimit -n, LimitNOFILE)"
        case ENFILE: "the system may open no more files (fs.file-max)"
        case ENOBUFS, ENOMEM: "the system has no memory for sockets"
        default: nil
        }
    }
}

/// When to try again, and when to say why not. A pure machine; it reads no clock.
struct AcceptBackoff {
    private static let shortest = TimeAmount.milliseconds(50)
    private static let longest = TimeAmount.seconds(1)

    private var next = Self.shortest
    private var warnings = RareWarning()

    /// A connection could be accepted.
    mutating func accepted() {
        self.next = Self.shortest
    }

    /// - Returns: how long to rest, and whether to warn.
    mutating func failed(at now: NIODeadline) -> (rest: TimeAmount, warns: Bool) {
        defer { self.next = min(self.next * 2, Self.longest) }
        return (self.next, self.warnings.isDue(at: now))
    }
}
