// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
package import Tern

extension ConnectionLimits {
    /// Patient: the links of the test cases are slow, lossy and sometimes dead for seconds.
    package static var interop: ConnectionLimits {
        var limits = ConnectionLimits()
        limits.handshakeTimeout = .seconds(60)
        limits.idleTimeout = .seconds(60)
        limits.unidirectionalStreams = 3
        limits.datagramFrameSize = 0
        // Of each file that a client does not take, at most this and a piece wait in memory.
        limits.writeHighWatermark = 128 << 10
        limits.writeLowWatermark = 64 << 10
        return limits
    }
}

extension QUICOptions {
    /// With qlog files in QLOGDIR.
    package static func fromEnvironment() -> QUICOptions {
        var options = QUICOptions()
        options.qlogDirectory = Environment.value("QLOGDIR")
        return options
    }
}
