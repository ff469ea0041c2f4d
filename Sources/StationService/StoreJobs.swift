package import StationCore
import StationLinux

extension Store {
    /// Writes down that a job begins. Only afterwards may its writer be asked.
    /// - Parameters:
    ///   - startedAt: seconds since 1970 by the wall clock.
    ///   - startedMonotonic: seconds of the monotonic clock, for durations within one boot; nil asks it now.
    ///   - run: the run that the job belongs to.
    /// - Returns: its sequence number.
    @discardableResult
    package func beginJob(
        _ start: JobStart, startedAt: Double, isClockSynchronised: Bool, startedMonotonic: Double? = nil,
        run: String? = nil
    ) async throws(StationError) -> Int64 {
        let startedMonotonic = startedMonotonic ?? SystemClock.monotonicSeconds()
        return try await perform { database in
            try database.run(
                """
                INSERT INTO jobs (id, boot_id, slot, device_sequence, image, sha256, byte_count, profile, build, run, trigger,
                    is_dry_run, user_id, model, card_byte_count, card_id, started_at, started_monotonic,
                    was_clock_synchronised, start)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                [
                    .text(start.id.text), .text(start.token.bootID), .text(start.slot.text),
                    .integer(start.token.deviceSequence), .text(start.assignment.image.text),
                    .text(start.assignment.sha256.hexadecimal), .integer(start.assignment.byteCount),
                    .text(start.assignment.profile), .text(start.assignment.build?.text), .text(run),
                    .text(start.trigger.rawValue), .flag(start.isDryRun),
                    .integer(start.callerUserID), .text(start.device.model), .integer(start.device.byteCount),
                    .text(start.device.cardID), .real(startedAt), .real(startedMonotonic), .flag(isClockSynchronised),
                    .text(try StoreJSON.text(start)),
                ])
            return database.lastInsertedKey
        }
    }

    /// Writes down how a job ended, and what that says of its card. The first verdict stands.
    ///
    /// What the file does not take, because it is full or its disk fails, is kept and tried again, until it is on record.
    /// - Parameter failuresInARow: those of the slot, with this one; nil leaves them as they are.
    /// - Returns: what is remembered of the card now; nil for a card that nothing is known of.
    /// - Throws: `job_unknown`; `job_ended` when it has a verdict already.
    @discardableResult
    package func endJob(
        _ id: JobID, _ report: JobReport, failuresInARow: Int? = nil
    ) async throws(StationError) -> CardRecord? {
        let end = JobEnding(id: id, report: report, failuresInARow: failuresInARow, time: clock())
        return try await perform { database in
            do {
                do {
                    try self.writeOverdue(database)
                } catch let error as StationError where error.code != "storage_full" {
                    // Those wait alone.
                }
                return try end.write(database)
            } catch let error as StationError where !JobEnding.isFinal(error) {
                self.keep(end)
                throw error
            }
        }
    }

    /// Forgets that a job began, because nothing happened.
    /// - Throws: `job_unknown`; `job_ended` when it has a verdict already.
    package func discardJob(_ id: JobID) async throws(StationError) {
        try await perform { database in
            let changed = try database.run("DELETE FROM jobs WHERE id = ? AND verdict IS NULL", [.text(id.text)])
            if changed == 0 { throw try Self.notUnderWay(id, in: database) }
        }
    }

    /// What a slot's machine has to know of the time before it began.
    package func memory(slot: SlotName) async throws(StationError) -> SlotMachine.Memory {
        try await perform { database in
            // An interrupted job counts as the last one, too: a card that passed before it is half-written now.
            var last = try database.query(
                "SELECT * FROM jobs WHERE slot = ? AND verdict IS NOT NULL ORDER BY sequence DESC LIMIT 1",
                [.text(slot.text)]
            ).first
            // A dry run changes nothing of what came of the card before.
            if let dryRun = last, try dryRun.flag("is_dry_run") {
                last =
                    try database.query(
                        """
                        SELECT * FROM jobs WHERE slot = ? AND verdict IS NOT NULL AND is_dry_run = 0
                            AND boot_id = ? AND device_sequence = ?
                        ORDER BY sequence DESC LIMIT 1
                        """,
                        [
                            .text(slot.text), .text(try dryRun.text("boot_id")),
                            .integer(try dryRun.integer("device_sequence")),
                        ]
                    ).first ?? dryRun
            }
            var memory = SlotMachine.Memory()
            if let last, let report = Self.report(last) {
                let start = StoreJSON.value(JobStart.self, last.optionalText("start"))
                memory.lastFinished = SlotMachine.Finished(start: try start ?? JobStart(last), report: report)
            }
            if let card = last?.optionalText("card").flatMap({ CardKey($0) }) {
                memory.lastCard = try Self.card(card, in: database)
            }
            memory.failuresInARow = try Self.streak(of: slot, in: database)
            memory.interruptedJobs = try database.query(
                """
                SELECT id FROM jobs INDEXED BY jobs_interrupted WHERE slot = ? AND verdict = 'interrupted'
                ORDER BY sequence DESC LIMIT 32
                """, [.text(slot.text)]
            ).compactMap { row in row.optionalText("id").flatMap { JobID($0) } }
            return memory
        }
    }

    /// Gives every job that has no verdict the verdict `interrupted`: who ran it is gone.
    /// - Returns: those jobs, in their order.
    static func endUnfinishedJobs(_ database: StoreDatabase) throws(StationError) -> [JobRecord] {
        let report = JobReport(.interrupted, detail: "the station went away while the job ran")
        let rows = try database.query(
            "UPDATE jobs SET verdict = ?, report = ? WHERE verdict IS NULL RETURNING *",
            [.text(report.verdict.word), .text(try StoreJSON.text(report))])
        // A row that cannot be read has its verdict all the same.
        return rows.compactMap { try? JobRecord($0) }.sorted { $0.sequence < $1.sequence }
    }

    static func notUnderWay(_ id: JobID, in database: StoreDatabase) throws(StationError) -> StationError {
        guard let row = try database.query("SELECT verdict FROM jobs WHERE id = ?", [.text(id.text)]).first else {
            return StationError("job_unknown", "the store has no job \(id)")
        }
        return StationError("job_ended", "job \(id) has ended already: \(try row.text("verdict"))")
    }

    /// The report of a row; nil while the job is under way.
    ///
    /// Where JSON and columns do not agree, it is never a `passed`.
    static func report(_ row: StoreRow) -> JobReport? {
        guard let word = row.optionalText("verdict") else { return nil }
        let reason = row.optionalText("reason").flatMap { Reason(rawValue: $0) }
        let report = StoreJSON.value(JobReport.self, row.optionalText("report"))
        if let report, report.verdict == Verdict(word: word, reason: reason) { return report }
        var verdict = Verdict(word: word, reason: reason) ?? .failed(.internalError)
        if verdict == .passed { verdict = .failed(.internalError) }
        return JobReport(verdict, detail: "the record of this job cannot be read; it said \(word)")
    }
}

extension JobStart {
    /// What the columns of a job's row tell: all that history shows, but not where the disk was.
    init(_ row: StoreRow) throws(StationError) {
        guard let id = JobID(try row.text("id")) else { throw row.wrongType("id") }
        guard let sha256 = SHA256Digest(try row.text("sha256")) else { throw row.wrongType("sha256") }
        guard let trigger = JobTrigger(rawValue: try row.text("trigger")) else { throw row.wrongType("trigger") }
        let sequence = try row.count("device_sequence")
        self.init(
            id: id, slot: try SlotName(row.text("slot")),
            token: InsertionToken(bootID: try row.text("boot_id"), deviceSequence: sequence),
            device: DeviceRecord(
                name: "", devicePath: "", deviceSequence: sequence, byteCount: try row.count("card_byte_count"),
                place: nil, reader: nil, model: try row.text("model"), cardID: row.optionalText("card_id")),
            assignment: Assignment(
                image: try ImageName(row.text("image")), sha256: sha256, byteCount: try row.count("byte_count"),
                profile: row.optionalText("profile"), build: row.optionalText("build").flatMap { BuildID($0) }),
            condition: .none, isDryRun: try row.flag("is_dry_run"), trigger: trigger,
            callerUserID: row.userID("user_id"))
    }
}

extension JobRecord {
    /// A job's row.
    init(_ row: StoreRow) throws(StationError) {
        self.init(
            sequence: try row.integer("sequence"), start: try JobStart(row), startedAt: try row.real("started_at"),
            wasClockSynchronised: try row.flag("was_clock_synchronised"), run: row.optionalText("run"),
            report: Store.report(row), card: row.optionalText("card").flatMap { CardKey($0) })
    }
}
