package import StationCore

/// A build with what it was made from.
package struct StoredBuild: Equatable, Sendable {
    package var record: BuildRecord
    package var inputs: JSONValue
}

extension Store {
    /// Writes down that a build begins. Only afterwards may the library be asked.
    package func beginBuild(
        id: BuildID, profile: ProfileRecord, inputs: BuildInputs, triple: BuilderTriple, callerUserID: UInt32?
    ) async throws(StationError) -> BuildRecord {
        let time = clock()
        return try await perform { database in
            try database.transaction {
                try database.run(
                    """
                    INSERT INTO builds (id, build_key, profile_id, builder_sha256, state, is_kept, byte_count, last_used_at,
                        boot_id, inputs, record)
                    VALUES (?, ?, ?, ?, 'running', 0, 0, ?, ?, ?, '')
                    """,
                    [
                        .text(id.text), .text(inputs.key.hexadecimal), .text(profile.profileID),
                        .text(inputs.builder.hexadecimal), .real(time.seconds), .text(self.bootID),
                        .text(inputs.document.canonicalJSON),
                    ])
                let record = BuildRecord(
                    sequence: database.lastInsertedKey, id: id, profileID: profile.profileID,
                    profileVersion: profile.version, triple: triple, key: inputs.key, builderSHA256: inputs.builder,
                    state: .running, startedAt: time.seconds, wasClockSynchronised: time.isSynchronised,
                    callerUserID: callerUserID)
                try Self.save(record, in: database)
                return record
            }
        }
    }

    /// Writes down what a build made. A build that ended before stays as it is.
    /// - Parameter key: of the inputs as they were in the end; nil for those that it began with.
    package func finishBuild(
        _ id: BuildID, _ product: BuildProduct, inputs: BuildInputs
    ) async throws(StationError) -> BuildRecord {
        let time = clock()
        return try await perform { database in
            try database.transaction {
                var record = try Self.running(id, in: database)
                record.state = .succeeded
                record.endedAt = time.seconds
                record.product = product
                record.isKept = true
                record.key = inputs.key
                if let card = product.card { try Self.noteBytes(card.sha256, card.byteCount, in: database) }
                try database.run(
                    """
                    UPDATE builds SET state = 'succeeded', is_kept = 1, byte_count = ?, card_sha256 = ?, build_key = ?,
                        inputs = ? WHERE id = ?
                    """,
                    [
                        .integer(product.byteCount), .text(product.card?.sha256.hexadecimal),
                        .text(inputs.key.hexadecimal), .text(inputs.document.canonicalJSON), .text(id.text),
                    ])
                try Self.save(record, in: database)
                return record
            }
        }
    }

    package func failBuild(
        _ id: BuildID, _ state: BuildRecord.State, _ problem: StationError
    ) async throws(StationError) -> BuildRecord {
        let time = clock()
        return try await perform { database in
            try database.transaction {
                var record = try Self.running(id, in: database)
                record.state = state
                record.endedAt = time.seconds
                record.problem = problem
                try database.run(
                    "UPDATE builds SET state = ? WHERE id = ?", [.text(state.rawValue), .text(id.text)])
                try Self.save(record, in: database)
                return record
            }
        }
    }

    /// What ran when the station went away is interrupted.
    package func abandonBuilds() async throws(StationError) {
        let running = try await perform { database in
            try database.query("SELECT id FROM builds WHERE state = 'running'").compactMap { row throws(StationError) in
                BuildID(try row.text("id"))
            }
        }
        for id in running {
            _ = try await failBuild(
                id, .interrupted,
                StationError(
                    "build_interrupted", "the station went away while it ran", remedy: "build it again"))
        }
    }

    /// The newest good build of a key whose files are kept; nil where there is none.
    package func build(of key: SHA256Digest) async throws(StationError) -> BuildRecord? {
        try await perform { database in
            try database.query(
                """
                SELECT * FROM builds WHERE build_key = ? AND state = 'succeeded' AND is_kept = 1
                ORDER BY sequence DESC LIMIT 1
                """, [.text(key.hexadecimal)]
            ).first.map(Self.build)
        }
    }

    package func builds(_ filter: Control.BuildFilter) async throws(StationError) -> [BuildRecord] {
        try await perform { database in
            try database.query(
                """
                SELECT * FROM builds WHERE (?1 IS NULL OR profile_id = ?1) AND (?2 IS NULL OR state = ?2)
                ORDER BY sequence DESC LIMIT ?3
                """,
                [
                    .text(filter.profile), .text(filter.state?.rawValue),
                    .integer(Int64(min(10_000, max(1, filter.limit ?? 50)))),
                ]
            ).map(Self.build)
        }
    }

    /// A build by its id or the beginning of it.
    /// - Throws: `build_unknown`, `build_ambiguous`.
    package func build(_ reference: String) async throws(StationError) -> StoredBuild {
        let isPlain = (4...32).contains(reference.utf8.count) && reference.isLowerHexadecimal
        let shown = "“\(reference.printable(limit: 40))”"
        guard isPlain else {
            throw StationError(
                "build_unknown", "there is no build \(shown)",
                remedy: "name it by its id, or by 4 digits of it at least: stationctl builds list")
        }
        return try await perform { database in
            let rows = try database.query(
                "SELECT * FROM builds WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2", [.text(reference)])
            guard let row = rows.first else {
                throw StationError("build_unknown", "there is no build \(shown)", remedy: "stationctl builds list")
            }
            guard rows.count == 1 else {
                throw StationError(
                    "build_ambiguous", "several builds begin with \(shown)", remedy: "give more digits")
            }
            return StoredBuild(
                record: try Self.build(row),
                inputs: StoreJSON.value(JSONValue.self, row.optionalText("inputs")) ?? .null)
        }
    }

    /// The build of the same profile before one, whatever became of it, with what it was made from.
    package func previousBuild(of record: BuildRecord) async throws(StationError) -> StoredBuild? {
        try await perform { database in
            try database.query(
                "SELECT * FROM builds WHERE profile_id = ? AND sequence < ? ORDER BY sequence DESC LIMIT 1",
                [.text(record.profileID), .integer(record.sequence)]
            ).first.map { row throws(StationError) in
                StoredBuild(
                    record: try Self.build(row),
                    inputs: StoreJSON.value(JSONValue.self, row.optionalText("inputs")) ?? .null)
            }
        }
    }

    package func noteBuildUsed(_ id: BuildID) async throws(StationError) {
        let time = clock()
        _ = try await perform { database in
            try database.run(
                "UPDATE builds SET last_used_at = ? WHERE id = ?", [.real(time.seconds), .text(id.text)])
        }
    }

    /// Remembers that a build's files are gone; its record stays.
    /// - Returns: its image, if nothing stands for that any more: noted as unused until `settleUnused`.
    package func forgetFiles(of id: BuildID, callerUserID: UInt32?) async throws(StationError) -> SHA256Digest? {
        let time = clock()
        return try await perform { database in
            try database.transaction { () -> SHA256Digest? in
                guard let row = try database.query("SELECT * FROM builds WHERE id = ?", [.text(id.text)]).first else {
                    return nil
                }
                var record = try Self.build(row)
                record.isKept = false
                try database.run("UPDATE builds SET is_kept = 0 WHERE id = ?", [.text(id.text)])
                try Self.save(record, in: database)
                try self.note(.removeBuild, by: callerUserID, at: time, detail: id.text, in: database)
                guard let image = record.product?.card?.sha256, try Self.noteIfUnused(image, in: database) else {
                    return nil
                }
                return image
            }
        }
    }

    /// Builds whose files are kept and whose image no slot has, the one used longest ago first.
    package func unassignedBuilds() async throws(StationError) -> [BuildRecord] {
        try await perform { database in
            try database.query(
                """
                SELECT * FROM builds WHERE is_kept = 1 AND NOT EXISTS (
                    SELECT 1 FROM assignments WHERE ended_at IS NULL AND assignments.sha256 = builds.card_sha256
                ) ORDER BY last_used_at
                """
            ).map(Self.build)
        }
    }

    /// The slots whose cards get a build's image.
    package func slots(of build: BuildRecord) async throws(StationError) -> [SlotName] {
        guard let card = build.product?.card else { return [] }
        return try await perform { database in
            try database.query(
                "SELECT slot FROM assignments WHERE sha256 = ? AND ended_at IS NULL", [.text(card.sha256.hexadecimal)]
            ).map { row throws(StationError) in try SlotName(row.text("slot")) }.sorted()
        }
    }

    private static func running(_ id: BuildID, in database: StoreDatabase) throws(StationError) -> BuildRecord {
        guard
            let row = try database.query(
                "SELECT * FROM builds WHERE id = ? AND state = 'running'", [.text(id.text)]
            ).first
        else { throw StationError("build_ended", "the build \(id.short) has ended already") }
        return try build(row)
    }

    private static func save(_ record: BuildRecord, in database: StoreDatabase) throws(StationError) {
        try database.run(
            "UPDATE builds SET record = ? WHERE id = ?", [.text(try StoreJSON.text(record)), .text(record.id.text)])
    }

    private static func build(_ row: StoreRow) throws(StationError) -> BuildRecord {
        guard var record = StoreJSON.value(BuildRecord.self, try row.text("record")),
            let state = BuildRecord.State(rawValue: try row.text("state"))
        else { throw row.wrongType("record") }
        // The columns count.
        record.state = state
        record.isKept = try row.flag("is_kept")
        record.lastUsedAt = try row.real("last_used_at")
        return record
    }
}
