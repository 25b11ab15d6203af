// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

// A package of its own, so that the lab and tern-bench build without the benchmark library.
let package = Package(
    name: "tern-micro",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "tern", path: "../../"),
        .package(name: "tern-benchmarks", path: "../"),
        // Without its traits it needs no library for malloc; allocations are counted by CTernBench.
        .package(url: "https://github.com/ordo-one/benchmark.git", from: "1.38.0", traits: []),
    ],
    targets: [
        // The workloads of TernMicroWorkloads, measured.
        .executableTarget(
            name: "TernMicro",
            dependencies: [
                .product(name: "TernMicroWorkloads", package: "tern"),
                .product(name: "CTernBench", package: "tern-benchmarks"),
                .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Benchmarks/TernMicro",
            swiftSettings: settings,
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")])
    ]
)
