// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Benchmark
internal import CTernBench
internal import Foundation
internal import TernMicroWorkloads

let benchmarks: @Sendable () -> Void = {
    tern_bench_count_allocations()
    var metrics: [BenchmarkMetric] = [.wallClock, .throughput, .allocations]
    // Virtual machines often have no such counter, and then the library says 0.
    if tern_bench_has_instruction_counter() { metrics.append(.instructions) }
    Benchmark.defaultConfiguration = .init(
        metrics: metrics, warmupIterations: 5, scalingFactor: .kilo, maxDuration: .milliseconds(700),
        maxIterations: 1_000, thresholds: .micro)

    // How many rounds one iteration has: enough that reading the clock does not count.
    let rounds = 1_000

    measure("variable-integers", { VariableIntegers() }) { _ = $0.writeAndRead(rounds) }
    measure("qmux-frames-encode", { QMuxFrames() }) { _ = $0.encode(rounds) }
    measure("qmux-frames-decode", { QMuxFrames() }) { _ = try $0.decode(rounds) }
    measure("qmux-record-out-and-in", { try QMuxPair() }) { _ = try $0.transfer(rounds) }
    measure("quic-routing", { QUICRouting() }) { _ = $0.route(rounds) }
    measure("quic-packet-out-and-in", { try QUICPair() }) { _ = try $0.transfer(rounds) }
    measure("message-encode", { try MessageCoding() }) { _ = try $0.encode(rounds) }
    measure("message-decode", { try MessageCoding() }) { _ = try $0.decode(rounds) }
    measure("machine-connection-race", {}) { _ in _ = try Machines.race(rounds) }
    measure("machine-link-health", {}) { _ in _ = Machines.health(rounds) }
    measure("machine-channel-log", {}) { _ in _ = try Machines.log(rounds) }
    measureStore("store-append-100") { _ = try await $0.append(1) }
    measureStore("store-read-100") { _ = try await $0.read(1) }
}

/// Runs a workload as a benchmark: `make` prepares it once, unmeasured; `run` is an iteration.
private func measure<Workload>(
    _ name: String, _ make: @escaping () throws -> Workload, _ run: @escaping (inout Workload) throws -> Void
) {
    Benchmark(
        name,
        closure: { (benchmark: Benchmark, prepared: Prepared<Workload>) throws -> Void in
            benchmark.startMeasurement()
            let before = tern_bench_allocations()
            try run(&prepared.workload)
            let after = tern_bench_allocations()
            benchmark.stopMeasurement()
            benchmark.measurement(.allocations, Int(after - before))
        }, setup: { Prepared(try make()) })
}

private func measureStore(_ name: String, _ run: @escaping (StoreLog) async throws -> Void) {
    let opened = Prepared<StoreLog?>(nil)
    Benchmark(
        name,
        // An iteration is one batch: nothing to divide by.
        configuration: .init(
            metrics: Benchmark.defaultConfiguration.metrics, warmupIterations: 5, scalingFactor: .one,
            maxDuration: .milliseconds(700), maxIterations: 1_000, thresholds: .store),
        closure: { (benchmark: Benchmark, store: StoreLog) async throws -> Void in
            benchmark.startMeasurement()
            let before = tern_bench_allocations()
            try await run(store)
            let after = tern_bench_allocations()
            benchmark.stopMeasurement()
            benchmark.measurement(.allocations, Int(after - before))
        },
        setup: {
            let store = try await StoreLog()
            // What is read.
            _ = try await store.append(1)
            opened.workload = store
            return store
        }, teardown: { await opened.workload?.close() })
}

/// A value that iterations may change.
private final class Prepared<Workload> {
    var workload: Workload

    init(_ workload: Workload) {
        self.workload = workload
    }
}
