// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import Testing

extension Trait where Self == TimeLimitTrait {
    /// For suites that wait for sockets, threads or other tasks: what hangs fails by its name, and everything else goes on. It is so long
    /// that nothing fails which only waits for its turn on a busy machine.
    package static var untilItHangs: Self { .timeLimit(.minutes(5)) }
}
