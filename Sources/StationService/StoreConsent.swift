package import StationCore

/// What operators allowed in one slot.
package struct SlotConsent: Equatable, Sendable {
    package var isArmed: Bool
    package var assignment: Assignment?
    /// Why the station itself disarmed the slot; nil when somebody asked for it.
    package var disarmReason: DisarmReason?
    /// An image that the slot waits for.
    package var preparation: SlotMachine.Preparation?
    /// The `placeAndReader` of the slot that it was given for; nil where that was not recorded.
    package var declared: String?

    package init(
        isArmed: Bool = false, assignment: Assignment? = nil, disarmReason: DisarmReason? = nil,
        preparation: SlotMachine.Preparation? = nil, declared: String? = nil
    ) {
        self.isArmed = isArmed
        self.assignment = assignment
        self.disarmReason = disarmReason
        self.preparation = preparation
        self.declared = declared
    }
}

extension Store {
    /// The consent of every slot that ever had any.
    package func consent() async throws(StationError) -> [SlotName: SlotConsent] {
        try await perform { database in
            let rows = try database.query(
                """
                SELECT slot_consent.slot AS slot, is_armed, disarm_reason, preparation, declared, image, sha256,
                    byte_count, profile, build
                FROM slot_consent LEFT JOIN assignments ON assignments.id = slot_consent.assignment_id
                """)
            var result: [SlotName: SlotConsent] = [:]
            for row in rows {
                result[try SlotName(row.text("slot"))] = SlotConsent(
                    isArmed: try row.flag("is_armed"), assignment: try Self.assignment(row),
                    disarmReason: row.optionalText("disarm_reason").flatMap { DisarmReason(rawValue: $0) },
                    preparation: StoreJSON.value(SlotMachine.Preparation.self, row.optionalText("preparation")),
                    declared: row.optionalText("declared"))
            }
            return result
        }
    }

    /// Notes of each slot that has any consent what it is declared around now.
    package func noteDeclared(_ slots: [SlotDeclaration]) async throws(StationError) {
        try await perform { database in
            try database.transaction {
                for slot in slots {
                    try database.run(
                        "UPDATE slot_consent SET declared = ?1 WHERE slot = ?2 AND declared IS NOT ?1",
                        [.text(slot.placeAndReader), .text(slot.name.text)])
                }
            }
        }
    }

    /// Keeps what a slot's machine now says, and who brought it about.
    /// - Parameters:
    ///   - change: for the audit.
    ///   - callerUserID: nil for the station itself.
    ///   - disarmReason: why the station disarmed the slot; only with `isArmed` false.
    ///   - preparation: an image that the slot waits for.
    ///   - declared: the slot's `placeAndReader`; nil leaves what is noted.
    /// - Throws: `slot_unassigned` for an armed slot with no assignment.
    package func saveConsent(
        slot: SlotName, isArmed: Bool, assignment: Assignment?, change: ChangeRecord.Kind, callerUserID: UInt32?,
        disarmReason: DisarmReason? = nil, preparation: SlotMachine.Preparation? = nil, declared: String? = nil
    ) async throws(StationError) {
        guard !isArmed || assignment != nil else {
            throw StationError(
                "slot_unassigned", "\(slot) has nothing assigned and cannot be armed",
                remedy: "stationctl assign \(slot) --image NAME assigns and arms")
        }
        let time = clock()
        try await perform { database in
            // Else the streak of a failure that came before would be written behind it.
            try? self.writeOverdue(database)
            try database.transaction {
                let id = try self.assignmentID(assignment, of: slot, by: callerUserID, at: time, in: database)
                try database.run(
                    """
                    INSERT INTO slot_consent (slot, is_armed, disarm_reason, assignment_id, preparation, declared)
                    VALUES (?, ?, ?, ?, ?, ?)
                    ON CONFLICT (slot) DO UPDATE SET is_armed = excluded.is_armed,
                        disarm_reason = excluded.disarm_reason, assignment_id = excluded.assignment_id,
                        preparation = excluded.preparation, declared = ifnull(excluded.declared, declared)
                    """,
                    [
                        .text(slot.text), .flag(isArmed), isArmed ? .null : .text(disarmReason?.rawValue),
                        id.map { .integer($0) } ?? .null, .text(try preparation.map { try StoreJSON.text($0) }),
                        .text(declared),
                    ])
                // Who arms a slot lets it begin anew.
                if isArmed { try Self.saveStreak(0, of: slot.text, in: database) }
                try self.note(
                    change, by: callerUserID, at: time, slot: slot, image: assignment?.image,
                    sha256: assignment?.sha256, detail: isArmed ? nil : disarmReason?.rawValue, in: database)
            }
        }
    }

    /// The key of the slot's current assignment; one that is another than before ends that one and gets a new key.
    private func assignmentID(
        _ assignment: Assignment?, of slot: SlotName, by userID: UInt32?, at time: WallTime, in database: StoreDatabase
    ) throws(StationError) -> Int64? {
        let current = try database.query(
            "SELECT * FROM assignments WHERE slot = ? AND ended_at IS NULL", [.text(slot.text)]
        ).first
        if let current {
            if try Self.assignment(current) == assignment { return try current.integer("id") }
            try database.run(
                "UPDATE assignments SET ended_at = ?, ended_by = ? WHERE id = ?",
                [.real(time.seconds), .integer(userID), .integer(try current.integer("id"))])
        }
        guard let assignment else { return nil }
        try Self.noteBytes(assignment.sha256, assignment.byteCount, in: database)
        try database.run(
            """
            INSERT INTO assignments
                (slot, image, sha256, byte_count, profile, build, boot_id, began_at, was_clock_synchronised, began_by)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                .text(slot.text), .text(assignment.image.text), .text(assignment.sha256.hexadecimal),
                .integer(assignment.byteCount), .text(assignment.profile), .text(assignment.build?.text), .text(bootID),
                .real(time.seconds),
                .flag(time.isSynchronised), .integer(userID),
            ])
        return database.lastInsertedKey
    }

    /// Nil where the row has no image.
    private static func assignment(_ row: StoreRow) throws(StationError) -> Assignment? {
        guard let image = row.optionalText("image") else { return nil }
        guard let sha256 = SHA256Digest(try row.text("sha256")) else { throw row.wrongType("sha256") }
        return Assignment(
            image: try ImageName(image), sha256: sha256, byteCount: try row.count("byte_count"),
            profile: row.optionalText("profile"), build: row.optionalText("build").flatMap { BuildID($0) })
    }
}
