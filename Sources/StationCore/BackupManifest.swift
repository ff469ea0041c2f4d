/// The first member of a backup: what it is a backup of, and every file in it, in the order in which they follow.
package struct BackupManifest: Codable, Equatable, Sendable {
    package static let formatName = "flashing-station-backup"
    package static let formatVersion = 1
    package static let memberName = "manifest.json"
    /// No manifest is longer, in bytes: so much is read of one before it is believed.
    package static let byteLimit: UInt64 = 256 << 20
    /// No station is larger, in bytes. To hash the holes of more would take hours, before a disk could say that it is too much.
    private static let totalLimit: UInt64 = 1 << 44

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
        stationVersion: String, hostName: String, createdAt: Double, wasClockSynchronised: Bool,
        hasBuilders: Bool, store: StoreSummary, slotCount: Int, members: [Member]
    ) {
        self.stationVersion = stationVersion
        self.hostName = hostName
        self.createdAt = createdAt
        self.wasClockSynchronised = wasClockSynchronised
        self.hasBuilders = hasBuilders
        self.store = store
        self.slotCount = slotCount
        self.members = members
        byteCount = members.reduce(0) { $0 + ($1.byteCount ?? 0) }
    }

    /// - Throws: `backup_invalid`, `backup_version`.
    package static func checkForm(_ format: String, _ version: Int, of station: String) throws(StationError) {
        guard format == formatName else {
            throw StationError("backup_invalid", "\(memberName) is of the format “\(format.printable(limit: 60))”")
        }
        guard version == formatVersion else {
            throw StationError(
                "backup_version", "\(memberName) is of format version \(version), this station knows \(formatVersion)",
                remedy:
                    "the backup was made by station \(station.printable(limit: 40)): install that version, or a later one"
            )
        }
    }

    /// Says whether everything in it may be unpacked; nothing has been by then.
    /// - Throws: `backup_version`, `backup_member`, `backup_invalid`.
    package func check() throws(StationError) {
        try Self.checkForm(format, formatVersion, of: stationVersion)
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
