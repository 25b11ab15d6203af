// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// A lock with a condition: what `Mutex` is, for threads that also wait.
///
/// `@unchecked Sendable`: `state` is touched only while `mutex` is held.
final class Monitor<State: Sendable>: @unchecked Sendable {
    private var state: State
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init(_ state: State) {
        self.state = state
        pthread_mutex_init(self.mutex, nil)
        #if os(Linux)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(self.condition, &attributes)
        pthread_condattr_destroy(&attributes)
        #else
        pthread_cond_init(self.condition, nil)
        #endif
    }

    deinit {
        pthread_cond_destroy(self.condition)
        pthread_mutex_destroy(self.mutex)
        self.condition.deallocate()
        self.mutex.deallocate()
    }

    func withLock<Answer>(_ body: (inout State) -> Answer) -> Answer {
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        return body(&self.state)
    }

    /// Changes the state and wakes whoever waits for it.
    func update<Answer>(_ body: (inout State) -> Answer) -> Answer {
        pthread_mutex_lock(self.mutex)
        defer {
            pthread_cond_broadcast(self.condition)
            pthread_mutex_unlock(self.mutex)
        }
        return body(&self.state)
    }

    /// Blocks the thread until `body` has an answer, or returns `nil` at the deadline.
    func wait<Answer>(until deadline: MonotonicInstant?, for body: (inout State) -> Answer?) -> Answer? {
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        while true {
            if let answer = body(&self.state) { return answer }
            guard let deadline else {
                pthread_cond_wait(self.condition, self.mutex)
                continue
            }
            let now = MonotonicInstant.now
            if now >= deadline { return nil }
            self.sleep(now: now, deadline: deadline)
        }
    }

    private func sleep(now: MonotonicInstant, deadline: MonotonicInstant) {
        #if os(Linux)
        var time = timespec(nanoseconds: deadline.nanoseconds)
        pthread_cond_timedwait(self.condition, self.mutex, &time)
        #else
        var time = timespec(nanoseconds: deadline.nanoseconds - now.nanoseconds)
        pthread_cond_timedwait_relative_np(self.condition, self.mutex, &time)
        #endif
    }
}

/// A point of CLOCK_MONOTONIC.
struct MonotonicInstant: Sendable, Comparable {
    var nanoseconds: UInt64

    static var now: MonotonicInstant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicInstant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    static func < (left: MonotonicInstant, right: MonotonicInstant) -> Bool { left.nanoseconds < right.nanoseconds }

    func advanced(by duration: Duration) -> MonotonicInstant {
        let (seconds, attoseconds) = duration.components
        let delta = UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds)) / 1_000_000_000
        return MonotonicInstant(nanoseconds: self.nanoseconds + delta)
    }
}

enum WallClock {
    /// Milliseconds since 1970.
    static var milliseconds: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(max(0, time.tv_sec)) * 1_000 + UInt64(max(0, time.tv_nsec)) / 1_000_000
    }
}

extension timespec {
    fileprivate init(nanoseconds: UInt64) {
        self.init()
        self.tv_sec = time_t(nanoseconds / 1_000_000_000)
        self.tv_nsec = Int(nanoseconds % 1_000_000_000)
    }
}
