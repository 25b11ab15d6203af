// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#else
internal import Darwin
#endif

/// A thread of our own: SQLite blocks, and the threads of Swift's concurrency pool must not.
enum StoreThread {
    private final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Runs `body` on a new detached thread.
    ///
    /// - Throws: ``StoreError/Code/unusable`` when the system has no thread left.
    static func start(_ body: @escaping @Sendable () -> Void) throws(StoreError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        let box = Unmanaged.passRetained(Box(body))
        #if canImport(Darwin)
        var thread: pthread_t?
        let result = pthread_create(&thread, &attributes, { Self.enter($0) }, box.toOpaque())
        #else
        var thread = pthread_t()
        let result = pthread_create(&thread, &attributes, { Self.enter($0) }, box.toOpaque())
        #endif
        guard result == 0 else {
            box.release()
            throw StoreError(.unusable, message: "cannot start a thread for the store: errno \(result)")
        }
    }

    private static func enter(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        guard let argument else { preconditionFailure("the thread was started without its body") }
        Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
        return nil
    }
}
