package import StationCore

/// A card as people name it: its key, or that of a job that failed on it, or the beginning of either.
enum CardReference {
    /// All cards that are meant, as a statement for the two pairs of parameters.
    static let keys = """
        SELECT card FROM cards WHERE card >= ? AND card < ?
        UNION SELECT card FROM jobs WHERE id >= ? AND id < ? AND card IS NOT NULL
        """

    /// - Throws: `card_invalid`.
    static func check(_ text: String) throws(StationError) {
        guard !text.isEmpty, text.isLowerHexadecimal else {
            throw StationError(
                "card_invalid", "“\(text.printable(limit: 40))” is not the beginning of a card's or a job's key",
                remedy: "they are of 0–9 and a–f, as stationctl card list shows them")
        }
    }

    static func parameters(_ text: String) -> [StoreValue] {
        // Behind every digit.
        [.text(text), .text(text + "g"), .text(text), .text(text + "g")]
    }
}

extension Store {
    /// What is remembered of a card with these traits; nil for one that is not known.
    package func recall(_ traits: CardTraits) async throws(StationError) -> CardRecord? {
        try await perform { database in try Self.recall(traits, in: database) }
    }

    /// The cards that a query asks for, the one seen last first.
    /// - Throws: `card_invalid`, `card_state_unknown`.
    package func cards(_ query: Control.CardQuery) async throws(StationError) -> [CardRecord] {
        var conditions: [String] = []
        var parameters: [StoreValue] = []
        if let card = query.card {
            try CardReference.check(card)
            conditions.append("card IN (\(CardReference.keys))")
            parameters += CardReference.parameters(card)
        }
        if let state = query.state {
            guard CardState(rawValue: state) != nil else {
                let words = CardState.allCases.map(\.rawValue)
                throw StationError(
                    "card_state_unknown", "“\(state.printable(limit: 40))” is no state of a card",
                    remedy: state.nearest(in: words).map { "did you mean \($0)?" }
                        ?? "use one of " + words.joined(separator: ", "))
            }
            conditions.append("state = ?")
            parameters.append(.text(state))
        }
        if let since = query.since {
            conditions.append("last_seen_at >= ?")
            parameters.append(.real(since))
        }
        let limit = min(max(0, query.limit ?? HistoryStatement.defaultLimit), HistoryStatement.largestLimit)
        parameters.append(.integer(Int64(limit)))
        let filter = conditions.isEmpty ? "" : "WHERE " + conditions.joined(separator: " AND ")
        let statement = "SELECT * FROM cards \(filter) ORDER BY last_seen_at DESC LIMIT ?"
        let values = parameters
        return try await perform { database in
            try database.query(statement, values).map { row throws(StationError) in try CardRecord(row) }
        }
    }

    /// Lets a card begin anew.
    /// - Parameter reference: its key, or that of a job that failed on it, or the beginning of either.
    /// - Returns: the card as it is now.
    /// - Throws: `card_invalid`, `card_unknown`, `card_ambiguous`.
    package func forgiveCard(_ reference: String, callerUserID: UInt32) async throws(StationError) -> CardRecord {
        try CardReference.check(reference)
        let time = clock()
        return try await perform { database in
            try database.transaction {
                let rows = try database.query(
                    "SELECT * FROM cards WHERE card IN (\(CardReference.keys)) LIMIT 3",
                    CardReference.parameters(reference))
                guard let row = rows.first else {
                    throw StationError(
                        "card_unknown", "no card is known as \(reference)", remedy: "see stationctl card list")
                }
                guard rows.count == 1 else {
                    throw StationError(
                        "card_ambiguous", "more than one card begins with \(reference)",
                        remedy: "give more digits; see stationctl card list")
                }
                var record = try CardRecord(row)
                record.forgive()
                try Self.save(record, in: database)
                try self.note(.forgiveCard, by: callerUserID, at: time, detail: record.card.text, in: database)
                return record
            }
        }
    }

    static func card(_ key: CardKey, in database: StoreDatabase) throws(StationError) -> CardRecord? {
        try database.query("SELECT * FROM cards WHERE card = ?", [.text(key.text)]).first
            .map { row throws(StationError) in try CardRecord(row) }
    }

    /// A card may be known by its identity and, from another reader, by a marker; then what is worse counts.
    private static func recall(_ traits: CardTraits, in database: StoreDatabase) throws(StationError) -> CardRecord? {
        let byIdentity = try traits.cardKey.flatMap { key throws(StationError) in try card(key, in: database) }
        let byMarker = try traits.marker.flatMap { job throws(StationError) in
            try database.query(
                "SELECT cards.* FROM jobs JOIN cards ON cards.card = jobs.card WHERE jobs.id = ?", [.text(job.text)]
            ).first.map { row throws(StationError) in try CardRecord(row) }
        }
        let known = [byIdentity, byMarker].compactMap { $0 }
        return known.first { $0.state == .condemned } ?? known.first(where: \.isSuspect) ?? known.first
    }

    /// Adds what a job came to, to what is remembered of its card; part of the transaction that ends the job.
    /// - Parameter row: the job's.
    static func noteCard(
        of row: StoreRow, _ report: JobReport, at time: WallTime, in database: StoreDatabase
    ) throws(StationError) -> CardRecord? {
        guard try !row.flag("is_dry_run"), let job = JobID(try row.text("id")) else { return nil }
        let traits = CardTraits(
            cardID: report.cardID ?? row.optionalText("card_id"), marker: report.foundMarker)
        let byteCount = report.cardByteCount > 0 ? report.cardByteCount : try row.count("card_byte_count")
        let model = try row.text("model")
        let new: CardRecord?
        var record: CardRecord
        if let key = traits.cardKey {
            new = CardRecord(card: key, identity: .cid, byteCount: byteCount, model: model, at: time.seconds)
            guard let found = try card(key, in: database) ?? new else { return nil }
            record = found
        } else {
            // A card that carries no marker, and failed, carries one from now on.
            new =
                report.verdict.countsAsFailure
                ? CardRecord(
                    card: CardKey(firstFailure: job), identity: .marker, byteCount: byteCount, model: model,
                    at: time.seconds) : nil
            guard let found = try recall(traits, in: database) ?? new else { return nil }
            record = found
        }
        if report.verdict == .passed { record.passed() }
        if report.verdict.countsAsFailure, let reason = report.verdict.reason {
            record.failed(
                CardRecord.Failure(
                    job: job, slot: try SlotName(row.text("slot")), reason: reason, at: time.seconds,
                    wasClockSynchronised: time.isSynchronised))
        }
        record.lastSeenAt = max(record.lastSeenAt, time.seconds)
        record.model = model
        try save(record, in: database)
        try database.run(
            "UPDATE jobs SET card = ? WHERE id = ?", [.text(record.card.text), .text(job.text)])
        return record
    }

    private static func save(_ record: CardRecord, in database: StoreDatabase) throws(StationError) {
        try database.run(
            """
            INSERT INTO cards (card, identity, state, byte_count, model, first_seen_at, last_seen_at, passed_count,
                failed_count, failures_in_a_row, last_failure)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (card) DO UPDATE SET state = excluded.state, model = excluded.model,
                last_seen_at = excluded.last_seen_at, passed_count = excluded.passed_count,
                failed_count = excluded.failed_count, failures_in_a_row = excluded.failures_in_a_row,
                last_failure = excluded.last_failure
            """,
            [
                .text(record.card.text), .text(record.identity.rawValue), .text(record.state.rawValue),
                .integer(record.byteCount), .text(record.model), .real(record.firstSeenAt), .real(record.lastSeenAt),
                .integer(Int64(record.passedCount)), .integer(Int64(record.failedCount)),
                .integer(Int64(record.failuresInARow)),
                try record.lastFailure.map { failure throws(StationError) in .text(try StoreJSON.text(failure)) }
                    ?? .null,
            ])
    }

    // MARK: Failures in a row

    static func streak(of slot: SlotName, in database: StoreDatabase) throws(StationError) -> Int {
        let row = try database.query("SELECT failures FROM failure_streaks WHERE slot = ?", [.text(slot.text)]).first
        return Int(clamping: try row?.integer("failures") ?? 0)
    }

    static func saveStreak(_ failures: Int, of slot: String, in database: StoreDatabase) throws(StationError) {
        if failures > 0 {
            try database.run(
                """
                INSERT INTO failure_streaks (slot, failures) VALUES (?, ?)
                ON CONFLICT (slot) DO UPDATE SET failures = excluded.failures
                """, [.text(slot), .integer(Int64(failures))])
        } else {
            try database.run("DELETE FROM failure_streaks WHERE slot = ?", [.text(slot)])
        }
    }
}

extension CardRecord {
    init(_ row: StoreRow) throws(StationError) {
        guard let card = CardKey(try row.text("card")) else { throw row.wrongType("card") }
        guard let identity = Identity(rawValue: try row.text("identity")) else { throw row.wrongType("identity") }
        guard let state = CardState(rawValue: try row.text("state")) else { throw row.wrongType("state") }
        self.init(
            card: card, identity: identity, state: state, byteCount: try row.count("byte_count"),
            model: try row.text("model"), firstSeenAt: try row.real("first_seen_at"),
            lastSeenAt: try row.real("last_seen_at"), passedCount: Int(clamping: try row.integer("passed_count")),
            failedCount: Int(clamping: try row.integer("failed_count")),
            failuresInARow: Int(clamping: try row.integer("failures_in_a_row")),
            lastFailure: StoreJSON.value(Failure.self, row.optionalText("last_failure")))
    }
}
