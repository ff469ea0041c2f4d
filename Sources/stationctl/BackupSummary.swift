import StationCore

/// What a manifest says besides its members.
struct BackupSummary: Encodable {
    var formatVersion: Int
    var stationVersion: String
    var hostName: String
    var createdAt: Double
    var wasClockSynchronised: Bool
    var hasBuilders: Bool
    var store: StoreSummary
    var slotCount: Int
    var fileCount: Int
    var byteCount: UInt64

    init(_ manifest: BackupManifest) {
        formatVersion = manifest.formatVersion
        stationVersion = manifest.stationVersion
        hostName = manifest.hostName
        createdAt = manifest.createdAt
        wasClockSynchronised = manifest.wasClockSynchronised
        hasBuilders = manifest.hasBuilders
        store = manifest.store
        slotCount = manifest.slotCount
        fileCount = manifest.members.count { $0.kind == .file }
        byteCount = manifest.byteCount
    }

    var lines: [String] {
        let clock = wasClockSynchronised ? "" : " by a clock that was not set"
        return [
            "of \(hostName.printable(limit: 80)), \(LocalTime.minute(createdAt))\(clock), station \(stationVersion.printable(limit: 40))",
            "\(Quantity.counted(slotCount, "slot")), \(Quantity.counted(store.imageCount, "image")), "
                + "\(Quantity.counted(store.profileCount, "profile")), \(Quantity.counted(store.buildCount, "build")), "
                + "\(Quantity.counted(store.jobCount, "job")), \(Quantity.counted(store.cardCount, "card"))"
                + (hasBuilders ? "" : "; no Image Builders"),
            "\(Quantity.counted(fileCount, "file")), \(Quantity.bytes(byteCount))",
        ]
    }
}
