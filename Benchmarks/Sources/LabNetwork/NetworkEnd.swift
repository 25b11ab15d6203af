// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import CTernLab
internal import Foundation

/// A thread that lives in a network namespace of its own. What it opens and starts belongs to that namespace.
///
/// Unchecked: a job is handed over and its result handed back under the semaphores, so that one thread touches it at a
/// time.
final class NetworkEnd: @unchecked Sendable {
    private let callers = NSLock()
    private let isWanted = DispatchSemaphore(value: 0)
    private let isDone = DispatchSemaphore(value: 0)
    private var job: (() -> Void)?
    private var isClosed = false

    init(name: String) throws {
        let thread = Thread { [self] in self.serve() }
        thread.name = "lab-\(name)"
        thread.start()
        do {
            try self.run {
                try check(ternlab_enter_network_namespace(), "a network namespace for the \(name)")
                try KernelSetting.prepareNamespace()
            }
        } catch {
            self.close()
            throw error
        }
    }

    /// Runs something in the namespace and waits for its result.
    func run<Value>(_ body: () throws -> Value) throws -> Value {
        self.callers.lock()
        defer { self.callers.unlock() }
        guard !self.isClosed else { throw BenchmarkError("the emulated network is closed") }
        return try withoutActuallyEscaping(body) { body in
            var result: Result<Value, any Error>?
            self.job = { result = Result(catching: body) }
            self.isWanted.signal()
            self.isDone.wait()
            guard let result else { throw BenchmarkError("the emulated network is closed") }
            return try result.get()
        }
    }

    /// Ends the thread; the namespace ends when no program lives in it any more.
    func close() {
        self.callers.lock()
        defer { self.callers.unlock() }
        guard !self.isClosed else { return }
        self.isClosed = true
        self.isWanted.signal()
        self.isDone.wait()
    }

    private func serve() {
        while true {
            self.isWanted.wait()
            guard self.job != nil else { break }
            self.finishJob()
            self.isDone.signal()
        }
        self.isDone.signal()
    }

    /// Has let go of the job when it returns, which its owner relies on.
    @inline(never)
    private func finishJob() {
        self.job?()
        self.job = nil
    }
}

/// - Parameter what: what was tried, as the object of "cannot make".
@discardableResult
func check(_ result: Int32, _ what: String) throws -> Int32 {
    guard result < 0 else { return result }
    throw BenchmarkError("cannot make \(what): \(String(cString: strerror(-result)))")
}
