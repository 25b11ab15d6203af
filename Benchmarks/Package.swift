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

// A package of its own, so that those who depend on Tern never build its benchmarks.
let package = Package(
    name: "tern-benchmarks",
    platforms: [.macOS(.v15)],
    products: [
        // The micro benchmarks count allocations too.
        .library(name: "CTernBench", targets: ["CTernBench"])
    ],
    dependencies: [
        .package(name: "tern", path: "../"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.6.0"),
    ],
    targets: [
        // What both programs need: child processes, the description of a machine, times, tables, files of records.
        .target(name: "BenchSupport", swiftSettings: settings),

        // Starts the programs that are compared over loopback, one after the other, and says what they did.
        .executableTarget(
            name: "tern-bench",
            dependencies: [
                "BenchSupport",
                "CTernBench",
                .product(name: "Tern", package: "tern"),
                .product(name: "TernMessages", package: "tern"),
                .product(name: "TernClient", package: "tern"),
                .product(name: "TernServer", package: "tern"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),
        // Counts allocations.
        .target(name: "CTernBench"),
        // What Tern is compared with where no program of the distribution does the same: bare loops over UDP and GnuTLS.
        .executableTarget(name: "tern-bench-peers", linkerSettings: [.linkedLibrary("gnutls")]),

        // The lab: QUIC and TCP compared on the same work over an emulated network.
        .executableTarget(
            name: "tern-lab",
            dependencies: [
                "BenchSupport",
                "CTernLab",
                "LabLink",
                "LabNetwork",
                "LabReport",
                .product(name: "Tern", package: "tern"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),
        // What a link does to packets: a pure machine, without clocks, sockets and random sources.
        .target(name: "LabLink", swiftSettings: settings),
        // Network namespaces and TUN devices, and the thread that carries packets between them through a link.
        .target(name: "LabNetwork", dependencies: ["BenchSupport", "CTernLab", "LabLink"], swiftSettings: settings),
        .target(name: "CTernLab"),
        // The file of a run, what can be read from it, and how that is shown: terminal, HTML, SVG.
        .target(name: "LabReport", dependencies: ["BenchSupport"], swiftSettings: settings),
        // Draws what a profiler sampled; for Scripts/profile.
        .executableTarget(
            name: "tern-flame",
            dependencies: [
                "BenchSupport", "LabReport", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: settings),
        // Two sides of the micro benchmarks, and a verdict; for Scripts/micro.
        .target(name: "MicroComparison", dependencies: ["BenchSupport"], swiftSettings: settings),
        .executableTarget(
            name: "tern-micro-compare", dependencies: ["BenchSupport", "MicroComparison"], swiftSettings: settings),

        .testTarget(name: "BenchSupportTests", dependencies: ["BenchSupport"], swiftSettings: settings),
        .testTarget(
            name: "LabTests", dependencies: ["tern-lab", "BenchSupport", "LabReport"], swiftSettings: settings),
        .testTarget(name: "MicroComparisonTests", dependencies: ["MicroComparison"], swiftSettings: settings),
        .testTarget(name: "LabLinkTests", dependencies: ["LabLink"], swiftSettings: settings),
        .testTarget(
            name: "LabNetworkTests", dependencies: ["LabNetwork", "LabLink", "CTernLab", "BenchSupport"],
            swiftSettings: settings),
        .testTarget(name: "LabReportTests", dependencies: ["LabReport", "BenchSupport"], swiftSettings: settings),
    ]
)
