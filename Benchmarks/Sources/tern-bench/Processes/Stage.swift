// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import Foundation
internal import Tern

/// Where a contender runs: a directory of its own making, and the programs that it starts.
final class Stage {
    /// For what does not outlive the run. On the disk that the results are on, since a temporary directory may be in
    /// memory, where flushing to stable storage costs nothing.
    let scratch: String
    /// Called a few times a second while a program is waited for.
    let tick: () -> Void

    /// How long a contender may take before it counts as stuck.
    static let patience = Duration.seconds(180)

    init(scratch: String, tick: @escaping () -> Void) {
        self.scratch = scratch
        self.tick = tick
    }

    /// Starts this program in another role.
    func start(_ role: Role, name: String) throws -> ChildProcess {
        try ChildProcess(name, role: role, scratch: self.scratch)
    }

    /// What a program of ours tells.
    func answer<Answer: Decodable>(of child: ChildProcess) throws -> Answer {
        try child.answer(within: Self.patience, whileWaiting: self.tick)
    }

    /// Starts one of the bare programs that Tern is compared with.
    func startPeer(_ arguments: [String]) throws -> ChildProcess {
        let directory = URL(filePath: ChildProcess.ownPath).resolvingSymlinksInPath().deletingLastPathComponent()
        let program = directory.appending(path: "tern-bench-peers").path
        return try ChildProcess("peer-\(arguments[0])", program, arguments, scratch: self.scratch)
    }

    /// A certificate and its key in files, and what signed it, PEM.
    func identityFiles() throws -> (files: IdentityFiles, authority: String) {
        let development = try TLSIdentity.selfSigned()
        let files = try IdentityFiles(
            certificatePEM: development.certificatePEM, keyPEM: development.keyPEM, in: self.scratch)
        return (files, String(decoding: development.certificateAuthorityPEM, as: UTF8.self))
    }

    var foreignGround: ForeignGround { ForeignGround(scratch: self.scratch) }

    func fetch(_ byteCount: Int, through pair: some ForeignPair) throws -> ForeignFetch {
        try pair.fetch(byteCount, within: Self.patience, whileWaiting: self.tick)
    }
}
