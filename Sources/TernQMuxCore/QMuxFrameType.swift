// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

/// Frame types (RFC 9000, section 19; draft-ietf-quic-qmux-02).
package enum QMuxFrameType {
    package static let padding: UInt64 = 0x00
    package static let resetStream: UInt64 = 0x04
    package static let stopSending: UInt64 = 0x05
    /// STREAM takes eight types; the low bits say which fields it has.
    package static let stream: UInt64 = 0x08
    package static let streamFinBit: UInt64 = 0x01
    package static let streamLengthBit: UInt64 = 0x02
    package static let streamOffsetBit: UInt64 = 0x04
    package static let maxData: UInt64 = 0x10
    package static let maxStreamData: UInt64 = 0x11
    package static let maxStreamsBidirectional: UInt64 = 0x12
    package static let maxStreamsUnidirectional: UInt64 = 0x13
    package static let dataBlocked: UInt64 = 0x14
    package static let streamDataBlocked: UInt64 = 0x15
    package static let streamsBlockedBidirectional: UInt64 = 0x16
    package static let streamsBlockedUnidirectional: UInt64 = 0x17
    package static let connectionClose: UInt64 = 0x1c
    package static let applicationClose: UInt64 = 0x1d
    /// draft-ietf-quic-reliable-stream-reset.
    package static let resetStreamAt: UInt64 = 0x24
    /// RFC 9221, without and with a length.
    package static let datagram: UInt64 = 0x30
    package static let datagramWithLength: UInt64 = 0x31
    package static let pingRequest: UInt64 = 0x348c_6752_9ef8_c7bd
    package static let pingResponse: UInt64 = 0x348c_6752_9ef8_c7be

    /// QX_TRANSPORT_PARAMETERS as we send it: on the wire `FF "QS0" CR LF CR LF`, the number that the draft registers
    /// and every implementation sends.
    package static let transportParameters: UInt64 = 0x3f51_5330_0d0a_0d0a
    /// The same frame by the characters that the draft's text names: on the wire `FF "QMX" CR LF CR LF`. Only accepted.
    package static let transportParametersQMX: UInt64 = 0x3f51_4d58_0d0a_0d0a
}
