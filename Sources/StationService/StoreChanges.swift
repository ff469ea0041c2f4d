package import StationCore

/// Who did what to which slot or image, as the store keeps it.
package struct ChangeRecord: Equatable, Codable, Sendable {
    /// What was done.
    package enum Kind: String, Codable, Sendable, CaseIterable {
        case assign, unassign, arm, disarm
        case importImage = "import"
        /// A name stands for other bytes than before.
        case replaceImage = "replace"
        case removeImage = "remove"
        /// `detail` names the profile and its version.
        case importProfile = "import-profile"
        case deleteProfile = "delete-profile"
        /// A card's failures no longer count; the detail names it.
        case forgiveCard = "forgive"
        /// An image is made ready for a slot; `detail` names the profile.
        case prepare
        /// `detail` names the builder.
        case ensureBuilder = "ensure-builder"
        case pruneBuilder = "prune-builder"
        /// `detail` names the build.
        case removeBuild = "remove-build"
        /// Everything here came out of a backup; `detail` names its host and its time.
        case restore
    }

    /// Counts up over all boots.
    package var sequence: Int64
    package var kind: Kind
    package var slot: SlotName?
    package var image: ImageName?
    package var sha256: SHA256Digest?
    /// More in words, such as why the station disarmed a slot.
    package var detail: String?
    /// Nil for the station itself.
    package var userID: UInt32?
    package var bootID: String
    /// Seconds since 1970 by the wall clock, which may not have been right.
    package var changedAt: Double
    package var wasClockSynchronised: Bool
}

extension Store {
    /// The newest changes, newest first.
    /// - Parameter slot: those of one slot only.
    package func changes(slot: SlotName? = nil, limit: Int = 100) async throws(StationError) -> [ChangeRecord] {
        try await perform { database in
            try database.query(
                "SELECT * FROM changes WHERE ?1 IS NULL OR slot = ?1 ORDER BY sequence DESC LIMIT ?2",
                [.text(slot?.text), .integer(Int64(max(0, limit)))]
            ).map { row throws(StationError) in try ChangeRecord(row) }
        }
    }

    /// Writes an audit row; part of the transaction of what it is about.
    func note(
        _ kind: ChangeRecord.Kind, by userID: UInt32?, at time: WallTime, slot: SlotName? = nil,
        image: ImageName? = nil,
        sha256: SHA256Digest? = nil, detail: String? = nil, in database: StoreDatabase
    ) throws(StationError) {
        try database.run(
            """
            INSERT INTO changes (boot_id, changed_at, was_clock_synchronised, user_id, change, slot, image, sha256, detail)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                .text(bootID), .real(time.seconds), .flag(time.isSynchronised), .integer(userID), .text(kind.rawValue),
                .text(slot?.text), .text(image?.text), .text(sha256?.hexadecimal), .text(detail),
            ])
    }
}

extension ChangeRecord {
    init(_ row: StoreRow) throws(StationError) {
        guard let kind = Kind(rawValue: try row.text("change")) else { throw row.wrongType("change") }
        self.kind = kind
        sequence = try row.integer("sequence")
        slot = try row.optionalText("slot").map { text throws(StationError) in try SlotName(text) }
        image = try row.optionalText("image").map { text throws(StationError) in try ImageName(text) }
        sha256 = row.optionalText("sha256").flatMap { SHA256Digest($0) }
        detail = row.optionalText("detail")
        userID = row.userID("user_id")
        bootID = try row.text("boot_id")
        changedAt = try row.real("changed_at")
        wasClockSynchronised = try row.flag("was_clock_synchronised")
    }
}
