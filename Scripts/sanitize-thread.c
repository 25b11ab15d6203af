// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// Preloaded by Scripts/sanitize: tells ThreadSanitizer what happens before what in Swift's Mutex.
//
// Whoever has to wait for it waits in the kernel, which writes the new owner into the mutex by itself (FUTEX_LOCK_PI), and the
// library that asks the kernel is not instrumented: without this, everything that a contended Mutex guards is called a race.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

#define SWIFT __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *

void __tsan_acquire(void *) __attribute__((weak));
void __tsan_release(void *) __attribute__((weak));

static void acquired(void *mutex) {
    if (__tsan_acquire) { __tsan_acquire(mutex); }
}

SWIFT void lock_slow(uint32_t, SELF) __asm__("$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF");
SWIFT bool try_lock_slow(SELF) __asm__("$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF");
SWIFT void unlock_slow(SELF) __asm__("$s15Synchronization12_MutexHandleV11_unlockSlowyyF");

SWIFT void lock_slow(uint32_t thread, SELF mutex) {
    typedef SWIFT void function(uint32_t, SELF);
    ((function *)dlsym(RTLD_NEXT, "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"))(thread, mutex);
    acquired(mutex);
}

SWIFT bool try_lock_slow(SELF mutex) {
    typedef SWIFT bool function(SELF);
    bool has_locked = ((function *)dlsym(RTLD_NEXT, "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"))(mutex);
    if (has_locked) { acquired(mutex); }
    return has_locked;
}

SWIFT void unlock_slow(SELF mutex) {
    typedef SWIFT void function(SELF);
    if (__tsan_release) { __tsan_release(mutex); }
    ((function *)dlsym(RTLD_NEXT, "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"))(mutex);
}
