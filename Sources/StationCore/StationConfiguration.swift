/// What `/etc/flashing-station/station.conf` and its drop-ins say, in all their sections.
package struct StationConfiguration: Equatable, Codable, Sendable {
    /// File-system labels and UUIDs of media that must never be written, besides the station's own data volume.
    package var protectedLabels: [String] = ["OURBOX_DATA"]
    /// How much room images, builds and Image Builders may take together, in bytes.
    package var storageLimit: UInt64 = 64 << 30
    /// After how many seconds without one finished request a writer counts as stuck.
    package var stuckAfterSeconds: Double = 15

    /// How long after boot a reader that turns up is taken to hold a card that was in all the time, in seconds.
    package var bootSettleSeconds: Double = 60
    /// How long a station that is told to finish waits for jobs that run, in seconds.
    package var stopPatienceSeconds: Double = 300
    /// After how many days a job is forgotten; 0 is never.
    package var historyDays = 0

    /// Where Image Builders come from: `[ImageBuilder]`.
    package var builderSource = BuilderSource()
    /// What a build may take, and how many may run at one time: `[Build]`.
    package var buildLimits = BuildLimits()
    package var parallelBuilds = 1
    /// Directories below which builds may publish copies of what they made.
    package var exportRoots: [String] = []

    package init() {}

    private static let stationKeys = [
        "StorageLimit", "StuckAfterSec", "BootSettleSec", "StopPatienceSec", "HistoryDays",
    ]
    private static let builderKeys = [
        "Mirrors", "SignaturePolicy", "Offline", "Proxy", "CertificateAuthority", "Retries", "StallSec",
    ]
    private static let buildKeys = [
        "Network", "TimeoutSec", "MemoryLimit", "TasksMax", "DiskLimit", "Parallel", "ExportRoots",
    ]
    /// Every key there is.
    package static let keys = ["ProtectedLabels"] + stationKeys + builderKeys + buildKeys

    /// Applies one file on top of what is there already; a drop-in overrides, `ProtectedLabels=` adds.
    /// - Throws: `config_syntax`, `config_key_unknown`, `config_value`.
    package mutating func apply(_ file: KeyValueFile) throws(StationError) {
        for entry in file.entries {
            switch (entry.section, entry.key) {
            case ("Guard", "ProtectedLabels"):
                guard let labels = entry.value.words else {
                    throw file.error(
                        "config_value", entry, "has a quotation mark without its partner",
                        remedy: "put a label with spaces between quotation marks: \"MY DATA\"")
                }
                for label in labels where !protectedLabels.contains(label) { protectedLabels.append(label) }
            case ("Station", "StorageLimit"):
                guard let bytes = Quantity.parseBytes(entry.value), bytes > 0 else {
                    throw file.error("config_value", entry, "has no byte count", remedy: "write 64G, for example")
                }
                storageLimit = bytes
            case ("Station", "StuckAfterSec"):
                guard let seconds = Double(entry.value), (2...3600).contains(seconds) else {
                    throw file.error("config_value", entry, "is not between 2 and 3600")
                }
                stuckAfterSeconds = seconds
            case ("Station", "BootSettleSec"):
                guard let seconds = Double(entry.value), (0...3600).contains(seconds) else {
                    throw file.error("config_value", entry, "is not between 0 and 3600")
                }
                bootSettleSeconds = seconds
            case ("Station", "StopPatienceSec"):
                guard let seconds = Double(entry.value), (0...86_400).contains(seconds) else {
                    throw file.error("config_value", entry, "is not between 0 and 86400")
                }
                stopPatienceSeconds = seconds
            case ("Station", "HistoryDays"):
                guard let days = Int(entry.value), (0...36_500).contains(days) else {
                    throw file.error(
                        "config_value", entry, "is no whole number from 0 to 36500",
                        remedy: "write 365 to forget jobs after a year, 0 to keep them for ever")
                }
                historyDays = days
            case ("ImageBuilder", _): try applyBuilderKey(entry, file)
            case ("Build", _): try applyBuildKey(entry, file)
            default: throw file.unknownKey(entry, known: Self.keys)
            }
        }
    }
}

extension StationConfiguration {
    private mutating func applyBuilderKey(_ entry: KeyValueFile.Entry, _ file: KeyValueFile) throws(StationError) {
        switch entry.key {
        case "Mirrors":
            let mirrors = entry.value.words ?? []
            guard !mirrors.isEmpty, mirrors.allSatisfy(Self.isURL) else {
                throw file.error(
                    "config_value", entry, "is no list of URLs",
                    remedy: "write what releases/ is below: https://downloads.openwrt.org")
            }
            builderSource.mirrors = mirrors
        case "SignaturePolicy":
            guard let policy = SignaturePolicy(rawValue: entry.value) else {
                throw file.error("config_value", entry, "is not one of require, warn, off")
            }
            builderSource.signaturePolicy = policy
        case "Offline": builderSource.isOffline = try Self.flag(entry, file)
        case "Proxy":
            guard entry.value.isEmpty || Self.isURL(entry.value) else {
                throw file.error("config_value", entry, "is no URL", remedy: "write http://HOST:PORT")
            }
            builderSource.proxy = entry.value.isEmpty ? nil : entry.value
        case "CertificateAuthority":
            guard entry.value.isEmpty || entry.value.hasPrefix("/") else {
                throw file.error("config_value", entry, "is no absolute path")
            }
            builderSource.certificateAuthority = entry.value.isEmpty ? nil : entry.value
        case "Retries": builderSource.retryCount = Int(try Self.number(entry, file, 0...100))
        case "StallSec": builderSource.stallSeconds = try Self.number(entry, file, 1...3600)
        default:
            throw file.unknownKey(entry, known: Self.builderKeys)
        }
    }

    private mutating func applyBuildKey(_ entry: KeyValueFile.Entry, _ file: KeyValueFile) throws(StationError) {
        switch entry.key {
        case "Network":
            guard ["online", "offline"].contains(entry.value) else {
                throw file.error("config_value", entry, "is neither online nor offline")
            }
            buildLimits.isOnline = entry.value == "online"
        case "TimeoutSec": buildLimits.seconds = try Self.number(entry, file, 10...86_400)
        case "MemoryLimit": buildLimits.memoryByteCount = try Self.bytes(entry, file)
        case "TasksMax": buildLimits.processCount = Int(try Self.number(entry, file, 16...100_000))
        case "DiskLimit": buildLimits.diskByteCount = try Self.bytes(entry, file)
        case "Parallel": parallelBuilds = Int(try Self.number(entry, file, 1...64))
        case "ExportRoots":
            let roots = entry.value.words ?? [""]
            guard roots.allSatisfy({ ProfileRules.binDirectory.problem(with: $0) == nil }) else {
                throw file.error(
                    "config_value", entry, "has something that is no plain absolute path",
                    remedy: "write \(ProfileRules.binDirectory.form)")
            }
            exportRoots = roots
        default:
            throw file.unknownKey(entry, known: Self.buildKeys)
        }
    }

    private static func isURL(_ text: String) -> Bool {
        let rest = ["https://", "http://"].first { text.hasPrefix($0) }.map { text.dropFirst($0.utf8.count) }
        guard let rest, !rest.isEmpty, rest.first != "/" else { return false }
        return text.utf8.count <= 1000 && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C }
    }

    private static func flag(_ entry: KeyValueFile.Entry, _ file: KeyValueFile) throws(StationError) -> Bool {
        switch entry.value {
        case "yes", "true", "on", "1": true
        case "no", "false", "off", "0": false
        default: throw file.error("config_value", entry, "is neither yes nor no")
        }
    }

    private static func number(
        _ entry: KeyValueFile.Entry, _ file: KeyValueFile, _ range: ClosedRange<Double>
    ) throws(StationError) -> Double {
        guard let number = Double(entry.value), range.contains(number) else {
            throw file.error(
                "config_value", entry, "is not between \(Int(range.lowerBound)) and \(Int(range.upperBound))")
        }
        return number
    }

    private static func bytes(_ entry: KeyValueFile.Entry, _ file: KeyValueFile) throws(StationError) -> UInt64 {
        guard let bytes = Quantity.parseBytes(entry.value), bytes >= 1 << 20 else {
            throw file.error("config_value", entry, "has no byte count of at least 1M", remedy: "write 4G, for example")
        }
        return bytes
    }
}
