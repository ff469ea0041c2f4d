// swift-tools-version: 6.2
import PackageDescription

/// What every room is built with: Swift 6, warnings as errors, imports that name what they use.
let house: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

/// How the installed programs are linked. Nobody links with them, so no symbol need be found, and what no code refers to can go; equal
/// functions become one; relocations take a bit each and not 24 bytes. All of that is memory that is never read in. Where
/// `packaging/build` has put the C++ library's archive, what Swift's runtime needs of it is linked in, and that is little.
let lean: [LinkerSetting] = [
    .unsafeFlags(
        [
            "-use-ld=lld", "-Xlinker", "--no-export-dynamic", "-Xlinker", "--icf=safe", "-Xlinker", "-z", "-Xlinker",
            "pack-relative-relocs", "-L", ".build/archives", "-Xclang-linker", "-static-libgcc",
        ], .when(configuration: .release))
]

/// The rooms that have parsers.
let fuzzed: [Target.Dependency] = [
    "StationCore", "StationLinux", "Digests", "CardWriting", "ProfileDocuments", "ImageLibrary", "StationService",
    "StationTestSupport",
]

/// The parsers under fuzzing, from one directory: a test that feeds every input of the kept corpora to them; where `packaging/fuzz`
/// asks, the program that libFuzzer drives, which cannot be linked without it.
let fuzzing: Target =
    Context.environment["STATION_FUZZING"] == nil
    ? .testTarget(
        name: "FuzzingTests", dependencies: fuzzed, path: "Tests/Fuzzing", exclude: ["corpus", "Fuzzer.swift"],
        swiftSettings: house)
    : .executableTarget(
        name: "fuzzer", dependencies: fuzzed, path: "Tests/Fuzzing", exclude: ["corpus", "CorpusTests.swift"],
        swiftSettings: house)

let package = Package(
    name: "flashing-station",
    products: [
        .executable(name: "stationd", targets: ["stationd"]),
        .executable(name: "station-writer", targets: ["station-writer"]),
        .executable(name: "station-library", targets: ["station-library"]),
        .executable(name: "stationctl", targets: ["stationctl"]),
    ],
    targets: [
        // C: constants and macros that Glibc's module does not show, and one module map per Debian library.
        .target(name: "CLinux", path: "Sources/CLinux"),
        .target(name: "CTasks", path: "Sources/CTasks"),
        .systemLibrary(name: "CUdev", path: "Sources/CUdev"),
        .systemLibrary(name: "CSystemd", path: "Sources/CSystemd"),
        .systemLibrary(name: "CSQLite", path: "Sources/CSQLite"),
        .systemLibrary(name: "COpenSSL", path: "Sources/COpenSSL"),
        .systemLibrary(name: "CBlkid", path: "Sources/CBlkid"),
        .systemLibrary(name: "CYAML", path: "Sources/CYAML"),
        // toml++ is C++, in headers only: this is the C that Swift sees of it.
        .target(name: "CTOML", path: "Sources/CTOML"),
        .systemLibrary(name: "CArchive", path: "Sources/CArchive"),
        .systemLibrary(name: "CCompression", path: "Sources/CCompression"),
        .systemLibrary(name: "CExpat", path: "Sources/CExpat"),
        .systemLibrary(name: "CCurl", path: "Sources/CCurl"),

        // The rooms. Arrows point down only; Sources/README.md is the map.
        .target(name: "StationCore", swiftSettings: house + [.strictMemorySafety()]),
        .target(name: "StationLinux", dependencies: ["StationCore", "CLinux"], swiftSettings: house),
        .target(name: "Digests", dependencies: ["StationCore", "COpenSSL"], swiftSettings: house),
        .target(
            name: "CardWriting", dependencies: ["StationCore", "StationLinux", "Digests", "CBlkid"],
            swiftSettings: house),
        .target(
            name: "ProfileDocuments", dependencies: ["StationCore", "StationLinux", "CYAML", "CTOML"],
            swiftSettings: house),
        .target(
            name: "ImageLibrary",
            dependencies: [
                "StationCore", "StationLinux", "Digests", "COpenSSL", "CArchive", "CCompression", "CExpat",
                "CCurl",
            ], swiftSettings: house),
        .target(
            name: "StationService",
            dependencies: ["StationCore", "StationLinux", "CTasks", "CUdev", "CSystemd", "CSQLite"],
            swiftSettings: house),
        .target(
            name: "StationTestSupport", dependencies: ["StationCore", "StationLinux"], swiftSettings: house),

        // The programs: wiring only.
        .executableTarget(
            name: "stationd", dependencies: ["StationCore", "StationLinux", "StationService"], swiftSettings: house,
            linkerSettings: lean),
        .executableTarget(
            name: "station-writer", dependencies: ["StationCore", "StationLinux", "CardWriting"],
            swiftSettings: house, linkerSettings: lean),
        .executableTarget(
            name: "station-library", dependencies: ["StationCore", "StationLinux", "ImageLibrary"],
            swiftSettings: house, linkerSettings: lean),
        .executableTarget(
            name: "stationctl", dependencies: ["StationCore", "StationLinux", "Digests", "ProfileDocuments"],
            swiftSettings: house, linkerSettings: lean),

        // A writer from which single checks can be taken out, to prove that each of them is needed. Never installed.
        .executableTarget(
            name: "station-writer-unguarded", dependencies: ["StationCore", "StationLinux", "CardWriting"],
            path: "Tests/UnguardedWriter", swiftSettings: house),
        // Hosts at random, and what the station makes of their disks: a part of packaging/torture. Never installed.
        .executableTarget(
            name: "topology-campaign",
            dependencies: ["StationCore", "StationLinux", "CardWriting", "StationTestSupport"],
            path: "Tests/TopologyCampaign", swiftSettings: house),

        .testTarget(
            name: "StationCoreTests", dependencies: ["StationCore", "StationTestSupport"], swiftSettings: house),
        .testTarget(
            name: "StationLinuxTests", dependencies: ["StationLinux", "StationCore", "StationTestSupport"],
            swiftSettings: house),
        .testTarget(
            name: "CardWritingTests",
            dependencies: ["CLinux", "CardWriting", "Digests", "StationCore", "StationLinux", "StationTestSupport"],
            swiftSettings: house),
        .testTarget(
            name: "ProfileDocumentsTests",
            dependencies: ["ProfileDocuments", "StationCore", "StationLinux", "StationTestSupport"],
            exclude: ["Genuine"], swiftSettings: house),
        .testTarget(
            name: "ImageLibraryTests",
            dependencies: [
                "ImageLibrary", "Digests", "ProfileDocuments", "StationCore", "StationLinux", "StationTestSupport",
            ],
            swiftSettings: house),
        .testTarget(
            name: "StationServiceTests",
            dependencies: ["StationService", "StationCore", "StationLinux", "StationTestSupport"],
            swiftSettings: house),
        fuzzing,
    ],
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx17
)
