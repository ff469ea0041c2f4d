package import StationCore

/// A history that does not grow for ever, for who wants that: `HistoryDays=`.
extension Store {
    private static let secondsOfDay = 86_400.0
    /// So many jobs at a time, so that nobody waits long for the store.
    private static let batchCount = 2000

    /// Forgets jobs that began longer ago than so many days. Blocks nobody: others get their turn between two batches.
    ///
    /// Whatever their age, these stay: jobs without a verdict, the newest of each slot, those that its statistics look at, and those
    /// that failed on a card which is known by them. Nothing is forgotten by a clock that no time source has set, and the date of a job
    /// that was written down by such a clock does not count: it goes when a later one goes.
    /// - Returns: how many were forgotten.
    package func forgetJobs(olderThan days: Int) async throws(StationError) -> Int {
        let now = clock()
        guard days > 0, now.isSynchronised else { return 0 }
        let limit = now.seconds - Double(days) * Self.secondsOfDay
        let last = try await perform { database in
            // The columns of the index first: a row is read only where its date has passed.
            try database.query(
                """
                SELECT sequence FROM jobs INDEXED BY jobs_in_order
                WHERE started_at < ? AND was_clock_synchronised = 1 ORDER BY sequence DESC LIMIT 1
                """, [.real(limit)]
            ).first?.integer("sequence")
        }
        guard let last else { return 0 }
        let floors = try await perform { try Self.floors($0) }
        var count = 0
        for (slot, floor, countedFloor) in floors {
            while true {
                let forgotten = try await perform { database in
                    try database.run(
                        Self.forgetStatement,
                        [
                            .text(slot), .integer(min(last, floor)), .real(limit), .integer(countedFloor),
                            .integer(Int64(Self.batchCount)),
                        ])
                }
                count += forgotten
                if forgotten < Self.batchCount { break }
            }
        }
        return count
    }

    /// The newest job of each slot that may be forgotten, and the newest of those that count in its statistics; 0 for none.
    private static func floors(
        _ database: StoreDatabase
    ) throws(StationError) -> [(slot: String, any: Int64, counted: Int64)] {
        let newest = { (index: String, condition: String, slot: String) throws(StationError) -> Int64 in
            try database.query(
                """
                SELECT sequence FROM jobs INDEXED BY \(index) WHERE slot = ? \(condition)
                ORDER BY sequence DESC LIMIT 1 OFFSET ?
                """, [.text(slot), .integer(Int64(SlotStatistics.window))]
            ).first?.integer("sequence") ?? 0
        }
        return try database.query("SELECT DISTINCT slot FROM jobs").map { row throws(StationError) in
            let slot = try row.text("slot")
            return (
                slot, try newest("jobs_of_slot", "", slot),
                try newest("jobs_for_statistics", "AND is_counted = 1", slot)
            )
        }
    }

    private static let forgetStatement = """
        DELETE FROM jobs WHERE sequence IN (
            SELECT sequence FROM jobs INDEXED BY jobs_of_slot
            WHERE slot = ? AND sequence <= ? AND verdict IS NOT NULL
                AND (started_at < ? OR was_clock_synchronised = 0)
                AND NOT (verdict = 'failed' AND card IS NOT NULL)
                AND (is_counted = 0 OR sequence <= ?)
            ORDER BY sequence LIMIT ?)
        """
}
