// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import PackageDescription

// A package of its own, so that those who depend on Tern never build its benchmarks.
let package = Package(
    name: "tern-benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "tern", path: "../"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.6.0"),
    ],
    targets: [
        // Starts the programs that are compared, one after the other, and says what they did.
        .executableTarget(
            name: "tern-bench",
            dependencies: [
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
            swiftSettings: [
                .swiftLanguageMode(.v6),
                .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"),
                .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
            ]),
        // Counts allocations.
        .target(name: "CTernBench"),
        // What Tern is compared with where no program of the distribution does the same: bare loops over UDP and GnuTLS.
        .executableTarget(name: "tern-bench-peers", linkerSettings: [.linkedLibrary("gnutls")]),
    ]
)
