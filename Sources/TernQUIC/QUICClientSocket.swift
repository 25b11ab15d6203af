// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import TernTransport

/// One of the sockets of a client's connection: each path has its own.
///
/// Confined to its event loop.
final class QUICClientSocket: UDPSocketReceiver {
    let endpoint: QUICClientEndpoint
    private(set) var socket: UDPSocket?
    /// Closes the socket when nothing comes to the old path any more.
    private var retirement: Scheduled<Void>?

    private init(endpoint: QUICClientEndpoint) {
        self.endpoint = endpoint
    }

    /// Opens a socket.
    ///
    /// - Parameter localAddress: the wildcard for any; port 0 lets the kernel choose.
    static func open(
        at localAddress: SocketAddress, for endpoint: QUICClientEndpoint, options: UDPSocketOptions,
        on eventLoop: any EventLoop, then: @escaping (Result<QUICClientSocket, any Error>) -> Void
    ) {
        let opened = QUICClientSocket(endpoint: endpoint)
        let receiver = NIOLoopBound<any UDPSocketReceiver>(opened, eventLoop: eventLoop)
        UDPSocket.bind(to: localAddress, on: eventLoop, options: options, receiver: receiver)
            .assumeIsolated().whenComplete { result in
                then(
                    result.map { socket in
                        opened.socket = socket.value
                        return opened
                    })
            }
    }

    /// `nil` when the socket is gone.
    var localAddress: SocketAddress? { self.socket?.localAddress }
    var isRetiring: Bool { self.retirement != nil }

    /// Closes the socket after `time`, unless it is needed again.
    func retire(after time: TimeAmount, on eventLoop: any EventLoop) {
        guard self.retirement == nil else { return }
        self.retirement = eventLoop.assumeIsolated().scheduleTask(in: time) { self.close() }
    }

    func keep() {
        self.retirement?.cancel()
        self.retirement = nil
    }

    func close() {
        self.keep()
        self.socket?.close()
    }

    func received(_ train: ReceivedTrain) { self.endpoint.received(train) }
    func receiveTurnEnded() { self.endpoint.receiveTurnEnded() }
    func socketBecameWritable() { self.endpoint.socketBecameWritable() }

    func socketClosed() {
        self.keep()
        self.endpoint.socketClosed(self)
        self.socket = nil
    }
}
