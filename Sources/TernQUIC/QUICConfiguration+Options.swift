// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import TernQUICCore
internal import TernTransport

extension QUICConfiguration {
    /// What the user said, for the core.
    init(limits: ConnectionLimits, options: QUICOptions, logger: Logger, connectionIDs: QUICConnectionIDSource) {
        self.init(limits: limits, connectionIDs: connectionIDs)
        self.maximumUDPPayloadSize = options.maximumUDPPayloadSize
        self.sameHostUDPPayloadSize = options.sameHostUDPPayloadSize
        self.discoversPathMTU = options.discoversPathMTU
        self.congestionControl =
            switch options.congestionControl {
            case .reno: .reno
            case .cubic: .cubic
            case .bbr: .bbr
            }
        self.maximumConnectionWindow = max(options.maximumConnectionWindow, limits.connectionWindow)
        self.maximumStreamWindow = max(options.maximumStreamWindow, limits.streamWindow)
        if let directory = options.qlogDirectory {
            self.makeQlogSink = { QlogFile(directory: directory, logger: logger) }
        }
    }
}
