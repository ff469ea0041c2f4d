package import StationCore

extension Store {
    /// All Image Builders that are remembered, by their names.
    package func builders() async throws(StationError) -> [BuilderRecord] {
        try await perform { database in
            try database.query("SELECT record, last_used_at FROM builders").map(Self.builder).sorted {
                $0.title == $1.title
                    ? $0.changedAt > $1.changedAt : $0.title.comparesNaturally(before: $1.title)
            }
        }
    }

    /// The one of a triple: the one that is ready, else what became of the last attempt. Nil where there was none.
    package func builder(for triple: BuilderTriple) async throws(StationError) -> BuilderRecord? {
        try await perform { database in
            let rows = try database.query(
                """
                SELECT record, last_used_at FROM builders WHERE release = ? AND target = ? AND subtarget = ?
                    AND state != 'deprecated' ORDER BY state = 'ready' DESC LIMIT 1
                """, Self.values(triple))
            return try rows.first.map(Self.builder)
        }
    }

    /// The devices that an Image Builder knows, by its archive's SHA-256.
    package func builderProfiles(_ sha256: SHA256Digest) async throws(StationError) -> [BuilderProfile] {
        try await perform { database in
            let text = try database.query(
                "SELECT profiles FROM builders WHERE sha256 = ?", [.text(sha256.hexadecimal)]
            ).first?.optionalText("profiles")
            return StoreJSON.value([BuilderProfile].self, text) ?? []
        }
    }

    /// Remembers that an Image Builder is being fetched.
    package func beginBuilder(_ triple: BuilderTriple, callerUserID: UInt32?) async throws(StationError) {
        let time = clock()
        let record = BuilderRecord(
            triple: triple, state: .pending, changedAt: time.seconds, changedByUserID: callerUserID)
        try await perform { database in
            try database.transaction {
                try Self.deleteUnfinished(triple, in: database)
                try Self.insert(record, triple, profiles: nil, in: database)
            }
        }
    }

    /// Remembers that it is there. One of the same name that it takes the place of is deprecated from now on.
    package func finishBuilder(
        _ facts: BuilderFacts, profiles: [BuilderProfile], callerUserID: UInt32?
    ) async throws(StationError) -> BuilderRecord {
        let time = clock()
        var record = BuilderRecord(
            triple: facts.triple, state: .ready, changedAt: time.seconds, changedByUserID: callerUserID)
        record.take(facts)
        let made = record
        return try await perform { database in
            try database.transaction {
                try Self.deleteUnfinished(facts.triple, in: database)
                let before = try database.query(
                    """
                    SELECT record, last_used_at FROM builders WHERE release = ? AND target = ? AND subtarget = ?
                        AND state = 'ready'
                    """, Self.values(facts.triple)
                ).first.map(Self.builder)
                // What was here and is here still stays as it was, but for who vouches for it.
                if var before, before.sha256 == made.sha256 {
                    guard before.vouching != made.vouching else { return before }
                    before.vouching = made.vouching
                    try database.run(
                        "UPDATE builders SET record = ? WHERE sha256 = ?",
                        [.text(try StoreJSON.text(before)), .text(made.sha256?.hexadecimal)])
                    return before
                }
                if var before, let sha256 = before.sha256 {
                    before.state = .deprecated
                    before.changedAt = time.seconds
                    try database.run(
                        "UPDATE builders SET state = 'deprecated', record = ? WHERE sha256 = ?",
                        [.text(try StoreJSON.text(before)), .text(sha256.hexadecimal)])
                }
                try database.run("DELETE FROM builders WHERE sha256 = ?", [.text(made.sha256?.hexadecimal)])
                try Self.insert(made, facts.triple, profiles: profiles, in: database)
                try self.note(
                    .ensureBuilder, by: callerUserID, at: time, sha256: made.sha256, detail: made.title, in: database)
                return made
            }
        }
    }

    /// Remembers that an Image Builder could not be had. One that is ready stays so.
    package func failBuilder(
        _ triple: BuilderTriple, _ problem: StationError, callerUserID: UInt32?
    ) async throws(StationError) {
        let time = clock()
        var record = BuilderRecord(
            triple: triple, state: .broken, changedAt: time.seconds, changedByUserID: callerUserID)
        record.problem = problem
        let made = record
        try await perform { database in
            try database.transaction {
                try Self.deleteUnfinished(triple, in: database)
                let isReady = try !database.query(
                    "SELECT 1 FROM builders WHERE release = ? AND target = ? AND subtarget = ? AND state = 'ready'",
                    Self.values(triple)
                ).isEmpty
                if !isReady { try Self.insert(made, triple, profiles: nil, in: database) }
            }
        }
    }

    /// What was being fetched when the station went away was not fetched.
    package func abandonBuilders() async throws(StationError) {
        let pending = try await builders().filter { $0.state == .pending }
        for builder in pending {
            let triple = try BuilderTriple(
                release: builder.release, target: builder.target, subtarget: builder.subtarget)
            try await failBuilder(
                triple,
                StationError(
                    "builder_interrupted", "the station went away while it was fetched",
                    remedy:
                        "stationctl builder ensure \(builder.release) \(builder.target) \(builder.subtarget) goes on"),
                callerUserID: builder.changedByUserID)
        }
    }

    package func noteBuilderUsed(_ sha256: SHA256Digest) async throws(StationError) {
        let time = clock()
        _ = try await perform { database in
            try database.run(
                "UPDATE builders SET last_used_at = ? WHERE sha256 = ?",
                [.real(time.seconds), .text(sha256.hexadecimal)])
        }
    }

    /// Forgets an Image Builder: one that was taken away, or one that never was there.
    package func removeBuilder(_ builder: BuilderRecord, callerUserID: UInt32?) async throws(StationError) {
        let time = clock()
        try await perform { database in
            try database.transaction {
                if let sha256 = builder.sha256 {
                    try database.run("DELETE FROM builders WHERE sha256 = ?", [.text(sha256.hexadecimal)])
                } else {
                    try database.run(
                        """
                        DELETE FROM builders WHERE release = ? AND target = ? AND subtarget = ? AND state = 'broken'
                        """, [.text(builder.release), .text(builder.target), .text(builder.subtarget)])
                }
                try self.note(
                    .pruneBuilder, by: callerUserID, at: time, sha256: builder.sha256, detail: builder.title,
                    in: database)
            }
        }
    }

    private static func builder(_ row: StoreRow) throws(StationError) -> BuilderRecord {
        guard var record = StoreJSON.value(BuilderRecord.self, try row.text("record")) else {
            throw row.wrongType("record")
        }
        record.lastUsedAt = try? row.real("last_used_at")
        return record
    }

    private static func insert(
        _ record: BuilderRecord, _ triple: BuilderTriple, profiles: [BuilderProfile]?, in database: StoreDatabase
    ) throws(StationError) {
        try database.run(
            """
            INSERT INTO builders (release, target, subtarget, state, sha256, record, profiles)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            values(triple) + [
                .text(record.state.rawValue), .text(record.sha256?.hexadecimal), .text(try StoreJSON.text(record)),
                .text(try profiles.map { profiles throws(StationError) in try StoreJSON.text(profiles) }),
            ])
    }

    private static func deleteUnfinished(_ triple: BuilderTriple, in database: StoreDatabase) throws(StationError) {
        try database.run(
            """
            DELETE FROM builders WHERE release = ? AND target = ? AND subtarget = ? AND state IN ('pending', 'broken')
            """, values(triple))
    }

    private static func values(_ triple: BuilderTriple) -> [StoreValue] {
        [.text(triple.release), .text(triple.target), .text(triple.subtarget)]
    }
}
