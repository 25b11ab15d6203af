// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
package import Synchronization

#if canImport(Glibc)
package import Glibc
private typealias FileActions = posix_spawn_file_actions_t
private typealias Attributes = posix_spawnattr_t
#elseif canImport(Darwin)
package import Darwin
private typealias FileActions = posix_spawn_file_actions_t?
private typealias Attributes = posix_spawnattr_t?
#endif

/// A program that this one started. Whoever makes one ends it, with ``finish(within:whileWaiting:)`` or ``stop(_:)``;
/// what is dropped unfinished is killed.
///
/// Confined to the thread that made it; every method blocks.
package final class ChildProcess {
    /// What the kernel says of a program that ended.
    package struct Ending {
        /// From the start of the program to its end.
        package var wallSeconds: Double
        /// User and system time of all its threads.
        package var cpuSeconds: Double
        package var maximumResidentMiB: Double
    }

    /// User and system time of all its threads until now.
    package var cpuSeconds: Double {
        var clock = clockid_t()
        var time = timespec()
        guard clock_getcpuclockid(self.processID, &clock) == 0, clock_gettime(clock, &time) == 0 else { return 0 }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// What it occupies of the machine's memory now.
    package var residentBytes: Int {
        guard let text = try? String(contentsOfFile: "/proc/\(self.processID)/statm", encoding: .utf8) else { return 0 }
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// How a server is asked to end.
    package enum Stop {
        /// Ours end when their standard input does, also if this program dies.
        case closingInput
        case signal(Int32)
    }

    let name: String
    package let processID: pid_t
    private let started = ContinuousClock.now
    private let errorFile: String
    private var input: Int32
    private let output: Int32
    private var unread: [UInt8] = []
    private var hasEnded = false

    /// Set by SIGINT and SIGTERM: whoever waits gives up, and the programs are ended on the way out.
    package static let isInterrupted = Atomic<Bool>(false)

    /// For programs that wait for others: SIGINT and SIGTERM set ``isInterrupted`` from here on.
    package static func heedInterruptions() {
        for number in [SIGINT, SIGTERM] {
            signal(number) { _ in ChildProcess.isInterrupted.store(true, ordering: .relaxed) }
        }
        // A program that ended early is an error of its own, not the end of this one.
        signal(SIGPIPE, SIG_IGN)
    }

    /// Where a program is started. The closure that it is given starts the program from the thread that calls it, so a place
    /// may be a thread that lives in another network namespace.
    package typealias Place = (_ start: () throws -> pid_t) throws -> pid_t

    /// - Parameters:
    ///   - scratch: a directory for what the program writes to its standard error.
    ///   - place: calls the closure that starts the program once.
    package init(
        _ name: String, _ executable: String, _ arguments: [String], scratch: String,
        in place: Place = { try $0() }
    ) throws {
        self.name = name
        self.errorFile = "\(scratch)/\(name).stderr"
        let (inputEnd, input) = try Self.pipe()
        let (output, outputEnd) = try Self.pipe()
        defer {
            close(inputEnd)
            close(outputEnd)
        }
        self.input = input
        self.output = output
        let errorFile = self.errorFile
        self.processID = try place {
            try Self.spawn(executable, arguments, input: inputEnd, output: outputEnd, errorFile: errorFile)
        }
    }

    deinit {
        if !self.hasEnded {
            kill(self.processID, SIGKILL)
            var status: Int32 = 0
            while waitpid(self.processID, &status, 0) < 0, errno == EINTR {}
        }
        if self.input >= 0 { close(self.input) }
        close(self.output)
    }

    /// The next line that the program prints.
    package func line(within limit: Duration, whileWaiting: () -> Void = {}) throws -> String {
        let deadline = ContinuousClock.now + limit
        while true {
            if let newline = self.unread.firstIndex(of: UInt8(ascii: "\n")) {
                defer { self.unread.removeSubrange(...newline) }
                return String(decoding: self.unread[..<newline], as: UTF8.self)
            }
            guard try self.readMore(before: deadline, whileWaiting: whileWaiting) else {
                let ending = try self.reap()
                throw BenchmarkError("\(self.name) ended too early, after \(ending.wallSeconds) s\(self.lastWords)")
            }
        }
    }

    /// Waits until the program ends by itself, and throws when it does not say success.
    package func finish(within limit: Duration, whileWaiting: () -> Void = {}) throws -> Ending {
        let deadline = ContinuousClock.now + limit
        while try self.readMore(before: deadline, whileWaiting: whileWaiting) {}
        return try self.reap()
    }

    /// Waits until the program ends by itself with success, and returns everything that it printed and was not read.
    package func output(
        within limit: Duration, whileWaiting: () -> Void = {}
    ) throws -> (text: String, ending: Ending) {
        let ending = try self.finish(within: limit, whileWaiting: whileWaiting)
        return (String(decoding: self.unread, as: UTF8.self), ending)
    }

    /// Ends a server.
    package func stop(_ stop: Stop) throws -> Ending {
        switch stop {
        case .closingInput:
            close(self.input)
            self.input = -1
            return try self.finish(within: .seconds(20))
        case .signal(let signal):
            kill(self.processID, signal)
            return try self.reap(endedBy: signal)
        }
    }

    /// - Returns: `false` when the program closed its output, which is when it ends.
    private func readMore(before deadline: ContinuousClock.Instant, whileWaiting: () -> Void) throws -> Bool {
        while true {
            if Self.isInterrupted.load(ordering: .relaxed) { throw BenchmarkError("interrupted") }
            guard ContinuousClock.now < deadline else {
                throw BenchmarkError("\(self.name) takes too long\(self.lastWords)")
            }
            var descriptor = pollfd(fd: self.output, events: Int16(POLLIN), revents: 0)
            if poll(&descriptor, 1, 200) > 0 { break }
            whileWaiting()
        }
        var chunk = [UInt8](repeating: 0, count: 4096)
        let count = read(self.output, &chunk, chunk.count)
        if count < 0 { return errno == EINTR || errno == EAGAIN }
        self.unread += chunk[..<count]
        return count > 0
    }

    private func reap(endedBy signal: Int32? = nil) throws -> Ending {
        let (status, usage) = try self.wait(atMost: .seconds(10))
        // The signal that interrupted us went to the whole group.
        if Self.isInterrupted.load(ordering: .relaxed) { throw BenchmarkError("interrupted") }
        let wall = (ContinuousClock.now - self.started).seconds
        let (code, endedBy) = (status >> 8 & 0xff, status & 0x7f)
        guard endedBy == 0 ? code == 0 || signal != nil : endedBy == signal else {
            let how = endedBy == 0 ? "with code \(code)" : "by signal \(endedBy)"
            throw BenchmarkError("\(self.name) ended \(how)\(self.lastWords)")
        }
        return Ending(
            wallSeconds: wall, cpuSeconds: Self.seconds(usage.ru_utime) + Self.seconds(usage.ru_stime),
            maximumResidentMiB: Double(usage.ru_maxrss) / 1024)
    }

    /// Its output ended or it was told to end, so this takes no time; a program that stays all the same is killed.
    private func wait(atMost limit: Duration) throws -> (status: Int32, usage: rusage) {
        let deadline = ContinuousClock.now + limit
        var status: Int32 = 0
        var usage = rusage()
        while true {
            let result = wait4(self.processID, &status, WNOHANG, &usage)
            if result == self.processID {
                self.hasEnded = true
                return (status, usage)
            }
            guard result == 0 || errno == EINTR else {
                throw BenchmarkError("wait4 for \(self.name): error \(errno)")
            }
            guard ContinuousClock.now < deadline else {
                throw BenchmarkError("\(self.name) does not end\(self.lastWords)")
            }
            usleep(200)
        }
    }

    /// The end of what the program wrote to its standard error.
    private var lastWords: String {
        let text = (try? String(contentsOfFile: self.errorFile, encoding: .utf8)) ?? ""
        let words = text.trimmingCharacters(in: .whitespacesAndNewlines).suffix(600)
        return words.isEmpty ? "" : "; it said: \(words)"
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
}

// MARK: Starting

extension ChildProcess {
    /// The first argument of a program that plays a role; the second is the role, as JSON.
    package static let roleCommand = "role"

    /// Starts this program in another role; otherwise as ``init(_:_:_:scratch:in:)``.
    package convenience init(
        _ name: String, role: some Encodable, scratch: String, in place: Place = { try $0() }
    ) throws {
        let role = String(decoding: try JSONEncoder().encode(role), as: UTF8.self)
        try self.init(name, Self.ownPath, [Self.roleCommand, role], scratch: scratch, in: place)
    }

    package static var ownPath: String {
        #if canImport(Glibc)
        "/proc/self/exe"
        #else
        CommandLine.arguments[0]
        #endif
    }

    /// Runs a small program to its end and returns the first line that it prints; `nil` when it fails or is missing.
    package static func firstLine(of program: String, _ arguments: [String], scratch: String) -> String? {
        guard let path = Self.path(of: program),
            let child = try? ChildProcess(program, path, arguments, scratch: scratch),
            let line = try? child.line(within: .seconds(20)), (try? child.finish(within: .seconds(20))) != nil
        else { return nil }
        return line
    }

    /// Where a program is; also looks where servers are installed, which is not in everybody's PATH.
    package static func path(of program: String) -> String? {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        let directories = path.split(separator: ":").map(String.init) + ["/usr/local/sbin", "/usr/sbin"]
        return directories.lazy.map { "\($0)/\(program)" }.first { access($0, X_OK) == 0 }
    }

    private static func spawn(
        _ executable: String, _ arguments: [String], input: Int32, output: Int32, errorFile: String
    ) throws -> pid_t {
        var actions = FileActions(nilOrDefault: ())
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_addopen(&actions, 2, errorFile, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        var attributes = Attributes(nilOrDefault: ())
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // The threads of a Swift program block signals, and would hand that down: then only SIGKILL ends a program.
        var (none, all) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        defer { for argument in argv { free(argument) } }
        argv.append(nil)
        var processID: pid_t = 0
        let error = Self.starting.withLock { _ in
            posix_spawn(&processID, executable, &actions, &attributes, argv, environ)
        }
        guard error == 0 else { throw BenchmarkError("cannot start \(executable): error \(error)") }
        return processID
    }

    /// Held while a program is started, and until a new pipe is closed to programs: threads start them side by side.
    private static let starting = Mutex<Void>(())

    /// Both ends are ours alone: a program gets its copy by name only, so that closing one is seen at the other.
    private static func pipe() throws -> (reading: Int32, writing: Int32) {
        try Self.starting.withLock { _ in
            var ends: [Int32] = [0, 0]
            #if canImport(Glibc)
            let result = Glibc.pipe(&ends)
            #else
            let result = Darwin.pipe(&ends)
            #endif
            guard result == 0 else { throw BenchmarkError("pipe: error \(errno)") }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            return (ends[0], ends[1])
        }
    }
}

#if canImport(Glibc)
extension posix_spawn_file_actions_t {
    fileprivate init(nilOrDefault: Void) { self.init() }
}

extension posix_spawnattr_t {
    fileprivate init(nilOrDefault: Void) { self.init() }
}
#else
extension Optional {
    fileprivate init(nilOrDefault: Void) { self = nil }
}
#endif

/// Why a benchmark could not be run, in a sentence.
package struct BenchmarkError: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }
}

extension Duration {
    package var seconds: Double { self / .seconds(1) }
}
