import StationCore
import Synchronization

/// How a job ended, on its way into the store.
struct JobEnding: Sendable {
    let id: JobID
    let report: JobReport
    let failuresInARow: Int?
    let time: WallTime

    /// - Returns: what is remembered of the card now.
    /// - Throws: `job_unknown`, `job_ended`, or what SQLite says.
    @discardableResult
    func write(_ database: StoreDatabase) throws -> CardRecord? {
        try database.transaction {
            let isCounted = report.verdict == .passed || report.verdict.countsAsFailure
            let ended = try database.query(
                """
                UPDATE jobs SET ended_at = ?, verdict = ?, reason = ?, report = ?, head_sha256 = ?,
                    bytes_per_second = ?, is_counted = CASE is_dry_run WHEN 0 THEN ? ELSE 0 END
                WHERE id = ? AND verdict IS NULL RETURNING *
                """,
                [
                    .real(time.seconds), .text(report.verdict.word), .text(report.verdict.reason?.rawValue),
                    .text(try StoreJSON.text(report)), .text(report.headSHA256?.hexadecimal),
                    SlotStatistics.bytesPerSecond(report).map { .real($0) } ?? .null, .flag(isCounted),
                    .text(id.text),
                ])
            guard let row = ended.first else { throw try Store.notUnderWay(id, in: database) }
            if let failuresInARow {
                try Store.saveStreak(failuresInARow, of: try row.text("slot"), in: database)
            }
            return try Store.noteCard(of: row, report, at: time, in: database)
        }
    }

    /// Whether trying again would change nothing.
    static func isFinal(_ error: StationError) -> Bool { ["job_unknown", "job_ended"].contains(error.code) }
}

/// Verdicts that the file would not take. The card has what they say, so they must not be lost because a disk was full for a while.
extension Store {
    /// How long after a failure the file is tried again.
    private static let retrySeconds = 5.0

    /// Before the end: writes what is overdue, and takes the log into the file, so that nothing hangs on the log any more. Who
    /// reads the file at that moment, a backup for one, is not waited for: the log stays then.
    func settle() async {
        try? await perform { try self.writeOverdue($0) }
        try? await perform { try $0.execute("PRAGMA busy_timeout = 200; PRAGMA wal_checkpoint(TRUNCATE)") }
    }

    /// Writes what the file would not take before, as far as it takes it now; on the store's queue.
    ///
    /// Where there is no room the order is kept, for a slot's streak is that of its last job. A verdict that the file refuses for
    /// another reason waits alone: damage to what one card left must not cost the others their records.
    /// - Throws: why some are left.
    func writeOverdue(_ database: StoreDatabase) throws {
        var left = overdue.withLock { $0 }[...]
        var kept: [JobEnding] = []
        var problem: (any Error)?
        while let end = left.first {
            do {
                try end.write(database)
            } catch let error as StationError where JobEnding.isFinal(error) {
                // Nothing to be done about it: that job is not, or no longer, under way.
            } catch {
                problem = problem ?? error
                if (error as? StationError)?.code == "storage_full" { break }
                kept.append(end)
            }
            left.removeFirst()
        }
        overdue.withLock { $0 = kept + left }
        if let problem { throw problem }
    }

    /// Keeps a verdict for later; on the store's queue.
    func keep(_ end: JobEnding) {
        let isFirst = overdue.withLock { ends in
            ends.append(end)
            return ends.count == 1
        }
        if isFirst { tryAgain() }
    }

    private func tryAgain() {
        perform(after: Self.retrySeconds) { store, database in
            do { try store.writeOverdue(database) } catch { store.tryAgain() }
        }
    }
}

extension JobRecord {
    /// What this says once the verdict that waits to be written is.
    func completed(by overdue: [JobEnding]) -> JobRecord {
        guard report == nil, let end = overdue.first(where: { $0.id == id }) else { return self }
        var record = self
        record.report = end.report
        return record
    }
}
