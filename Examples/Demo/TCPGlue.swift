// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOCore

/// Hands the bytes of one TCP connection to another. It reads only when its partner can write, so nothing piles up here.
final class TCPGlue: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// Where the bytes go; both channels live on one event loop.
    private let partner: any Channel

    private init(partner: any Channel) {
        self.partner = partner
    }

    static func pair(_ one: any Channel, _ other: any Channel) -> (TCPGlue, TCPGlue) {
        (TCPGlue(partner: other), TCPGlue(partner: one))
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { context.read() }
    }

    func channelActive(context: ChannelHandlerContext) {
        context.read()
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.partner.write(self.unwrapInboundIn(data), promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.partner.flush()
        if self.partner.isWritable { context.read() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.partner.read() }
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            self.partner.close(mode: .output, promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.partner.close(promise: nil)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
