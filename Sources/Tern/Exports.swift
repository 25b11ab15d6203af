// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

@_exported public import TernQMux
@_exported public import TernQUIC
@_exported public import TernTLS
@_exported public import TernTransport

// `import Tern` is all that a user of the transport needs: the carriers' options, TLS, the contract, and what their API is
// made of.
@_exported public import struct Logging.Logger
@_exported public import struct NIOCore.ByteBuffer
@_exported public import protocol NIOCore.EventLoop
@_exported public import class NIOCore.EventLoopFuture
@_exported public import protocol NIOCore.EventLoopGroup
@_exported public import enum NIOCore.SocketAddress
@_exported public import struct NIOCore.TimeAmount
@_exported public import class NIOPosix.MultiThreadedEventLoopGroup
