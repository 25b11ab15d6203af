// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import BenchSupport
internal import Foundation
internal import LabLink
internal import LabNetwork

/// Says what this machine can do.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Say whether a network can be emulated here, and how accurately.",
        discussion:
            "Ends with code 0 when everything runs, 2 when only the loopback does, 3 when the machine is too busy.")

    func run() throws {
        for sentence in LabMachine.missing() { print("note: \(sentence)") }
        do {
            try EmulatedNetwork(NetworkConditions(Scenario.home), seed: 0).close()
        } catch {
            print("No network can be emulated: \(error)\nOnly the scenarios on the loopback run.")
            throw ExitCode(2)
        }
        var isGood = true
        for result in try EmulatedNetwork.measureAccuracy() {
            print(
                """
                \(result.isGood ? "good" : "BAD "): \(result.check): \(fixed(result.measured, 3)) \(result.unit), \
                expected \(fixed(result.expected, 3)) ± \(fixed(result.tolerance * 100, 0)) %
                """)
            isGood = isGood && result.isGood
        }
        let capacity = try EmulatedNetwork.measureCapacity()
        print("note: without limits, an emulated network carries \(fixed(capacity / 1e9, 1)) Gbit/s here over TCP")
        for scenario in Scenario.all {
            for contender in scenario.contenders {
                guard let missing = contender.missing else { continue }
                print("note: \(contender.name) is left out of \(scenario.name): \(missing)")
            }
        }
        if !isGood { throw ExitCode(3) }
        print("Every scenario can run.")
    }
}

/// A network for programs of one's own.
struct LinkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "link",
        abstract: "Emulate a network and run programs of your own at its ends.",
        discussion: """
            Starts the server's command in one network namespace and the client's in another; $SERVER holds the server's \
            address in both. Ends when the client's command does, with its exit code.

            Example: tern-lab link --rate 20 --delay 20 --loss 1 --server 'iperf3 -s -1' --port 5201 --client 'iperf3 -c $SERVER'
            """)

    @Option(help: "Mbit/s, each direction. (default: no limit)")
    var rate: Double?

    @Option(help: "One way, in milliseconds.")
    var delay: Double = 0

    @Option(help: "Up and down of the delay, in milliseconds.")
    var jitter: Double = 0

    @Flag(help: "Let packets overtake each other when the delay goes up and down.")
    var reorders = false

    @Option(help: "Per cent of packets that are lost, each direction.")
    var loss: Double = 0

    @Option(help: "KiB that wait in front of the bottleneck.")
    var queue: Int = 256

    @Option(help: "Bytes of the largest IP packet.")
    var mtu: Int = 1_500

    @Flag(help: "Drop all UDP.")
    var blocksUDP = false

    @Option(help: "The congestion control of TCP at both ends. (default: the kernel's)")
    var tcp: String?

    @Option(help: "Where the chances begin.")
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("What /bin/sh runs at the server's end.", valueName: "command"))
    var server: String?

    @Option(
        help: "The TCP port that the server's command listens at: the client's starts when it does. (default: at once)")
    var port: UInt16?

    @Option(help: ArgumentHelp("What /bin/sh runs at the client's end.", valueName: "command"))
    var client: String

    func validate() throws {
        if let rate, !(0.001...100_000).contains(rate) { throw ValidationError("--rate takes 0.001 to 100000 Mbit/s") }
        guard (0...60_000).contains(self.delay), (0...60_000).contains(self.jitter) else {
            throw ValidationError("--delay and --jitter take 0 to 60000 ms")
        }
        guard self.jitter <= self.delay else { throw ValidationError("--jitter is at most the delay") }
        guard (0...100).contains(self.loss) else { throw ValidationError("--loss takes 0 to 100 per cent") }
        guard (1...1 << 20).contains(self.queue) else { throw ValidationError("--queue takes 1 to 1048576 KiB") }
        guard self.port == nil || self.server != nil else { throw ValidationError("--port is of the --server") }
        guard (1_280...EmulatedLink.bytesPerBuffer).contains(self.mtu) else {
            throw ValidationError("--mtu takes 1280 to \(EmulatedLink.bytesPerBuffer) bytes")
        }
    }

    func run() throws {
        let direction = DirectionConditions(
            bitsPerSecond: self.rate.map { $0 * 1e6 }, delay: self.delay / 1e3, jitter: self.jitter / 1e3,
            reorders: self.reorders, loss: self.loss > 0 ? .random(self.loss / 100) : .none,
            queueBytes: self.queue << 10)
        let access = AccessConditions(
            up: direction, down: direction, mtu: self.mtu, udp: self.blocksUDP ? .blocked : .carried)
        let network = try EmulatedNetwork(NetworkConditions(access), seed: self.seed)
        defer { network.close() }
        if let tcp { try network.setTCPCongestionControl(tcp) }
        setenv("SERVER", network.serverAddress, 1)
        setenv("SERVER6", network.serverAddress6, 1)
        let server = try self.server.map { try ShellProcess($0, in: network.serverPlace, hasOwnGroup: true) }
        defer { server?.end() }
        if let port {
            try FreePort.untilTaken(by: "the server") { try network.atServer { try FreePort.isTaken(Int(port), .tcp) } }
        }
        let client = try ShellProcess(self.client, in: network.clientPlace)
        // The terminal's interruption is the client's, and the server is ended when that has ended.
        signal(SIGINT, SIG_IGN)
        let code = try client.wait()
        if code != 0 { throw ExitCode(code) }
    }
}

/// A command of the user's with the terminal of this program.
private final class ShellProcess {
    private let processID: pid_t

    /// - Parameter hasOwnGroup: whether ``end()`` will be called: it ends whatever the shell started.
    init(_ command: String, in place: ChildProcess.Place, hasOwnGroup: Bool = false) throws {
        self.processID = try place {
            var processID: pid_t = 0
            var arguments = ["/bin/sh", "-c", command].map { (text: String) in strdup(text) }
            defer { for argument in arguments { free(argument) } }
            arguments.append(nil)
            #if canImport(Glibc)
            var attributes = posix_spawnattr_t()
            #else
            var attributes: posix_spawnattr_t?
            #endif
            posix_spawnattr_init(&attributes)
            defer { posix_spawnattr_destroy(&attributes) }
            if hasOwnGroup { posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP)) }
            let error = posix_spawn(&processID, "/bin/sh", nil, &attributes, arguments, environ)
            guard error == 0 else { throw BenchmarkError("cannot start /bin/sh: error \(error)") }
            return processID
        }
    }

    func wait() throws -> Int32 {
        var status: Int32 = 0
        while waitpid(self.processID, &status, 0) < 0 {
            guard errno == EINTR else { throw BenchmarkError("waitpid: error \(errno)") }
        }
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    }

    func end() {
        kill(-self.processID, SIGTERM)
        _ = try? self.wait()
    }
}
