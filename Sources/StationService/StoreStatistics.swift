package import StationCore

extension Store {
    /// How the newest jobs of slots went. Reads one index, and at most `SlotStatistics.window` entries of it for each slot.
    package func statistics(of slots: [SlotName]) async throws(StationError) -> [SlotStatistics] {
        try await perform { database in
            try slots.map { slot throws(StationError) in
                let rows = try database.query(
                    Self.statisticsStatement, [.text(slot.text), .integer(Int64(SlotStatistics.window))])
                return SlotStatistics(
                    slot: slot,
                    samples: try rows.map { row throws(StationError) in
                        SlotStatistics.Sample(
                            hasPassed: try row.text("verdict") == "passed",
                            bytesPerSecond: row["bytes_per_second"] == .null ? nil : try row.real("bytes_per_second"))
                    })
            }
        }
    }

    static let statisticsStatement = """
        SELECT verdict, bytes_per_second FROM jobs INDEXED BY jobs_for_statistics
        WHERE slot = ? AND is_counted = 1 ORDER BY sequence DESC LIMIT ?
        """

    /// The jobs that may have written what is on a card: those that passed and left these first bytes, the last that passed
    /// on this very card, and the one of its present stay. Each image once, the newest first.
    /// - Parameters:
    ///   - head: the SHA-256 of the card's first bytes.
    ///   - card: by its own identity, for a card that shows one.
    ///   - present: the job of the card's present stay, if there was one.
    package func writings(
        head: SHA256Digest?, card: CardKey?, present: JobID?
    ) async throws(StationError) -> [CardInspection.Writing] {
        try await perform { database in
            var sequences: [(job: Int64, count: Int)] = []
            if let present {
                sequences += try database.query(
                    "SELECT sequence FROM jobs WHERE id = ? AND verdict = 'passed'", [.text(present.text)]
                ).map { row throws(StationError) in (try row.integer("sequence"), 1) }
            }
            if let card {
                sequences += try database.query(
                    """
                    SELECT sequence FROM jobs INDEXED BY jobs_of_card
                    WHERE card = ? AND verdict = 'passed' ORDER BY sequence DESC LIMIT 1
                    """, [.text(card.text)]
                ).map { row throws(StationError) in (try row.integer("sequence"), 1) }
            }
            if let head {
                sequences += try database.query(Self.headStatement, [.text(head.hexadecimal)])
                    .map { row throws(StationError) in
                        (try row.integer("newest"), Int(clamping: try row.integer("count")))
                    }
            }
            var writings: [CardInspection.Writing] = []
            for (sequence, count) in sequences {
                guard let row = try database.query("SELECT * FROM jobs WHERE sequence = ?", [.integer(sequence)]).first
                else { continue }
                let job = try JobRecord(row)
                let isKnown = writings.contains {
                    $0.job.imageSHA256 == job.imageSHA256 && $0.job.imageByteCount == job.imageByteCount
                }
                if !isKnown { writings.append(CardInspection.Writing(job: job, jobCount: count)) }
            }
            return Array(writings.prefix(InspectionRequest.candidateLimit))
        }
    }

    static let headStatement = """
        SELECT COUNT(*) AS count, MAX(sequence) AS newest FROM jobs INDEXED BY jobs_by_head
        WHERE head_sha256 = ? AND verdict = 'passed' GROUP BY sha256, byte_count ORDER BY newest DESC LIMIT 4
        """

    /// One job by its key; nil where the store has none.
    package func job(_ id: JobID) async throws(StationError) -> JobRecord? {
        try await perform { database in
            try database.query("SELECT * FROM jobs WHERE id = ?", [.text(id.text)]).first
                .map { row throws(StationError) in try JobRecord(row) }
        }
    }
}
