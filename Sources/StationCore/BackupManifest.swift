/// The first member of a backup: what it is a backup of, and every file in it, in the order in which they follow.
package struct BackupManifest: Codable, Equatable, Sendable {
    package static let formatName = "flashing-station-backup"
    package static let formatVersion = 1
    package static let memberName = "manifest.json"
    /// No manifest is longer, in bytes: so much is read of one before it is believed.
    package static let byteLimit: UInt64 = 256 << 20
    /// No station is larger, in bytes: sums of what is smaller overflow nowhere.
    private static let totalLimit: UInt64 = 1 << 60

    /// One file, directory or symbolic link.
    package struct Member: Codable, Equatable, Sendable {
        package enum Kind: String, Codable, Sendable { case file, directory, link }

        /// `config/…` is `/etc/flashing-station`, `state/…` is `/var/lib/flashing-station`.
        package var path: String
        package var kind: Kind
        /// Of a file, its holes included.
        package var byteCount: UInt64?
        /// Of a file.
        package var sha256: SHA256Digest?
        /// Permission bits.
        package var mode: UInt32?
        /// Nanoseconds since 1970.
        package var modifiedAt: Int64?
        /// Of a link: where it points.
        package var target: String?

        package init(
            path: String, kind: Kind, byteCount: UInt64? = nil, sha256: SHA256Digest? = nil, mode: UInt32? = nil,
            modifiedAt: Int64? = nil, target: String? = nil
        ) {
            self.path = path
            self.kind = kind
            self.byteCount = byteCount
            self.sha256 = sha256
            self.mode = mode
            self.modifiedAt = modifiedAt
            self.target = target
        }
    }

    package var format = Self.formatName
    package var formatVersion = Self.formatVersion
    package var stationVersion: String
    package var hostName: String
    /// Tells whether it was this machine, and nothing else about it: SHA-256 over `/etc/machine-id` with a word before it.
    package var machine: SHA256Digest?
    /// Seconds since 1970, and whether the clock had been set by a time source.
    package var createdAt: Double
    package var wasClockSynchronised: Bool
    /// Whether Image Builders are in it.
    package var hasBuilders: Bool
    /// What the store in it holds.
    package var store: StoreSummary
    package var slotCount: Int
    /// Sum of all files, their holes included.
    package var byteCount: UInt64
    package var members: [Member]

    package init(
        stationVersion: String, hostName: String, machine: SHA256Digest?, createdAt: Double, wasClockSynchronised: Bool,
        hasBuilders: Bool, store: StoreSummary, slotCount: Int, members: [Member]
    ) {
        self.stationVersion = stationVersion
        self.hostName = hostName
        self.machine = machine
        self.createdAt = createdAt
        self.wasClockSynchronised = wasClockSynchronised
        self.hasBuilders = hasBuilders
        self.store = store
        self.slotCount = slotCount
        self.members = members
        byteCount = members.reduce(0) { $0 + ($1.byteCount ?? 0) }
    }

    /// The key of a machine, as `machine` has it.
    package static func machineKey(machineID: String) -> SHA256Digest {
        SHA256.digest(of: "flashing-station backup \(machineID)".utf8)
    }

    /// Says whether everything in it may be unpacked; nothing has been by then.
    /// - Throws: `backup_version`, `backup_member`, `backup_invalid`.
    package func check() throws(StationError) {
        guard format == Self.formatName else {
            throw StationError("backup_invalid", "\(Self.memberName) is of the format “\(format.printable(limit: 60))”")
        }
        guard formatVersion == Self.formatVersion else {
            throw StationError(
                "backup_version",
                "\(Self.memberName) is of format version \(formatVersion), this station knows \(Self.formatVersion)",
                remedy:
                    "the backup was made by station \(stationVersion.printable(limit: 40)): install that version, or a later one"
            )
        }
        // By their bytes: two names that are composed differently are equal to Swift, and two files.
        var directories = Set(BackupArea.roots.map { Array($0.utf8) })
        var seen = directories
        var sum: UInt64 = 0
        for member in members {
            let isNew = seen.insert(Array(member.path.utf8)).inserted
            if !isNew, !(member.kind == .directory && BackupArea.roots.contains(member.path)) {
                throw BackupArea.refusal(member.path, "is there twice")
            }
            try check(member)
            let parent = Path.parent(member.path)
            guard parent == "." || directories.contains(Array(parent.utf8)) else {
                throw BackupArea.refusal(member.path, "stands in no directory that comes before it")
            }
            if member.kind == .directory { directories.insert(Array(member.path.utf8)) }
            let (total, isTooMuch) = sum.addingReportingOverflow(member.byteCount ?? 0)
            guard !isTooMuch, total <= Self.totalLimit else {
                throw BackupArea.refusal(member.path, "is larger than anything")
            }
            sum = total
        }
        guard sum == byteCount else {
            throw StationError("backup_invalid", "\(Self.memberName): the sizes do not add up to byteCount")
        }
        guard seen.contains(Array(BackupArea.storeMember.utf8)) else {
            throw StationError(
                "backup_invalid", "\(BackupArea.storeMember) is not among the members: no station's state is without")
        }
    }

    private func check(_ member: Member) throws(StationError) {
        let area = try BackupArea(of: member.path)
        switch member.kind {
        case .file:
            guard member.byteCount != nil, member.sha256 != nil, member.target == nil else {
                throw BackupArea.refusal(member.path, "is a file without size or SHA-256")
            }
        case .directory:
            guard member.byteCount == nil, member.target == nil else {
                throw BackupArea.refusal(member.path, "is a directory with a size or a target")
            }
        case .link:
            guard let target = member.target, member.byteCount == nil else {
                throw BackupArea.refusal(member.path, "is a link to nowhere")
            }
            try area.checkLink(member.path, target: target)
        }
        try area.checkName(member.path, member.kind)
    }
}

/// What a store holds, counted while its snapshot was taken.
package struct StoreSummary: Codable, Equatable, Sendable {
    /// The newest of the steps that its tables have taken.
    package var schemaVersion: Int
    package var imageCount: Int
    package var profileCount: Int
    package var buildCount: Int
    package var jobCount: Int
    package var cardCount: Int
    /// Of the snapshot, in bytes.
    package var byteCount: UInt64

    package init(
        schemaVersion: Int, imageCount: Int, profileCount: Int, buildCount: Int, jobCount: Int, cardCount: Int,
        byteCount: UInt64
    ) {
        self.schemaVersion = schemaVersion
        self.imageCount = imageCount
        self.profileCount = profileCount
        self.buildCount = buildCount
        self.jobCount = jobCount
        self.cardCount = cardCount
        self.byteCount = byteCount
    }
}
