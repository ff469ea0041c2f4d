import StationCore
import StationLinux

/// `history`: the jobs that were.
enum HistoryCommand {
    static let all = [
        Command(
            "history", summary: "Lists jobs, newest first, and sums them up",
            details: "TIME is one of \(LocalTime.forms).".wrapped(to: 80).joined(separator: "\n"),
            options: [
                .init("--slot", value: "SLOT", "only this slot; may be a glob"),
                .init("--image", value: "NAME", "only this image; may be a glob"),
                .init("--card", value: "CARD", "only jobs of this card; see stationctl card list"),
                .init("--verdict", value: "WORD", "passed, failed, refused, cancelled or interrupted"),
                .init("--since", value: "TIME", "only jobs that began at or after"),
                .init("--until", value: "TIME", "only jobs that began before"),
                .init("--job", value: "ID", "only this job: its id or the beginning of it; shows all of it"),
                .init("--limit", value: "N", "at most so many (50; with --csv 10000)"),
                .init("--csv", "write CSV (RFC 4180), with a line of headings"),
            ],
            examples: [
                "stationctl history --since today --verdict failed",
                "stationctl history --slot 'left-*' --since monday",
                "stationctl history --since 2026-11-01 --csv > november.csv",
            ], exits: Command.readingExits, run: run)
    ]

    /// What the station tells at one time.
    private static let largestLimit = 10_000

    private struct Listing: Encodable {
        var jobs: [JobRecord]
        /// Whether these are all that match; else the newest of them.
        var isComplete: Bool
    }

    private static let words = ["passed", "failed", "refused", "cancelled", "interrupted"]

    private static func run(_ context: Context) throws -> ExitCode {
        let isCSV = context.arguments.has("--csv")
        if isCSV, context.isJSON { throw context.syntax.usage("--csv and --json cannot both be") }
        let limit = try limit(context) ?? (isCSV ? largestLimit : 50)
        // One more shows whether there are more.
        let asked = min(limit + 1, largestLimit)
        let query = try query(context, limit: asked)
        let found = try fetch(context.connect(), query)
        let (jobs, isComplete) = (Array(found.prefix(limit)), found.count < asked)
        if jobs.isEmpty, query.job != nil {
            let isAlone = query == Control.HistoryQuery(job: query.job, limit: asked)
            throw StationError(
                "job_unknown", "there is no such job" + (isAlone ? "" : " that matches the rest"),
                remedy: "see stationctl history")
        }
        if context.isJSON {
            context.console.json(Listing(jobs: jobs, isComplete: isComplete))
        } else if isCSV {
            context.console.data(HistoryCSV.text(jobs))
        } else if context.arguments.has("--job") {
            for (index, job) in jobs.enumerated() {
                if index > 0 { context.console.line() }
                show(job, context.console)
            }
        } else if jobs.isEmpty {
            context.console.line("no job matches")
        } else {
            list(jobs, context.console)
            context.console.line()
            context.console.paragraph(summary(jobs, isComplete: isComplete))
        }
        return .success
    }

    private static func query(_ context: Context, limit: Int) throws(StationError) -> Control.HistoryQuery {
        let arguments = context.arguments
        var query = Control.HistoryQuery(
            slot: arguments.value("--slot"), job: arguments.value("--job"), card: arguments.value("--card"),
            image: arguments.value("--image"), limit: limit)
        if let word = arguments.value("--verdict") {
            guard words.contains(word) else {
                throw context.syntax.usage(
                    "“\(word.printable(limit: 40))” is no verdict",
                    remedy: word.nearest(in: words).map { "did you mean \($0)?" }
                        ?? "one of: \(words.joined(separator: ", "))")
            }
            query.verdict = word
        }
        query.since = try context.time("--since")
        query.until = try context.time("--until")
        // For the station an empty beginning is that of every job.
        if query.job == "" { throw context.syntax.usage("--job takes a job id or the beginning of one") }
        return query
    }

    private static func limit(_ context: Context) throws(StationError) -> Int? {
        guard let text = context.arguments.value("--limit") else { return nil }
        if let limit = Int(text), (1...largestLimit).contains(limit) { return limit }
        throw context.syntax.usage("--limit takes a number from 1 to 10000")
    }

    /// All jobs that match, however many replies they take.
    static func fetch(_ client: ControlClient, _ query: Control.HistoryQuery) throws(StationError) -> [JobRecord] {
        var jobs: [JobRecord] = []
        try client.callMore(.listHistory, query, as: Control.History.self) { reply in
            jobs += reply.jobs
            return true
        }
        return jobs
    }

    static func list(_ jobs: [JobRecord], _ console: Console) {
        var table = Table(columns: [
            .init(heading: "WHEN", minimum: 16, resists: 4), .init(heading: "SLOT", resists: 2, keepsEnds: true),
            .init(heading: "IMAGE", minimum: 10, keepsEnds: true, needsWidth: 60),
            .init(heading: "VERDICT", minimum: 18, resists: 1), .init(heading: "TOOK", resists: 3, needsWidth: 50),
            .init(heading: "JOB", resists: 3),
        ])
        for job in jobs {
            let verdict = job.report.map(SlotText.verdict) ?? "under way"
            table.rows.append([
                // A clock that nobody had set says nothing that should be believed.
                .init(LocalTime.minute(job.startedAt) + (job.wasClockSynchronised ? "" : "?")), .init(job.slot.text),
                .init(job.image.text), .init(verdict, style(job)),
                .init(job.report.map { Quantity.seconds($0.totalSeconds) } ?? ""), .init(job.id.short),
            ])
        }
        for line in table.lines(on: console, width: console.width) { console.line(line) }
    }

    /// `12 jobs: 10 passed, 1 failed, 1 refused`.
    private static func summary(_ jobs: [JobRecord], isComplete: Bool) -> String {
        let isDryRun: (JobRecord) -> Bool = { $0.report?.verdict.reason == .dryRun }
        var parts = words.compactMap { word in
            let count = jobs.count { $0.report?.verdict.word == word && !isDryRun($0) }
            return count > 0 ? "\(count) \(word)" : nil
        }
        let dryRuns = jobs.count(where: isDryRun)
        if dryRuns > 0 { parts.append("\(dryRuns) dry \(dryRuns == 1 ? "run" : "runs")") }
        let underWay = jobs.count { $0.report == nil }
        if underWay > 0 { parts.append("\(underWay) under way") }
        let count = "\(jobs.count) \(jobs.count == 1 ? "job" : "jobs")"
        let more = jobs.count < largestLimit ? "; for more: --limit N" : "; for older ones: --until TIME"
        return "\(isComplete ? "" : "the newest ")\(count): \(parts.joined(separator: ", "))" + (isComplete ? "" : more)
    }

    private static func style(_ job: JobRecord) -> Console.Style {
        switch job.report?.verdict {
        case .passed: .good
        case .failed: .bad
        case .refused(.dryRun), nil: .active
        default: .attention
        }
    }

    /// One job, line by line.
    static func show(_ job: JobRecord, _ console: Console) {
        let clock = job.wasClockSynchronised ? "" : " (the clock was not set)"
        var rows = [
            ("job", job.id.text), ("slot", job.slot.text), ("began", LocalTime.text(job.startedAt) + clock),
            ("image", "\(job.image), \(Quantity.bytes(job.imageByteCount))"), ("sha256", job.imageSHA256.hexadecimal),
            ("profile", job.profile?.printable(limit: 128) ?? ""),
            (
                "device",
                job.build.map { "BUILD_ID=\($0) in /etc/flashing-station-release; stationctl builds show \($0.short)" }
                    ?? ""
            ),
            (
                "trigger",
                job.trigger.rawValue
                    + (job.callerUserID.map { " by \(UserDatabase.userName($0) ?? "uid \($0)")" } ?? "")
            ),
            ("reader", job.model.printable(limit: 60)),
        ]
        if let report = job.report {
            rows.append(("verdict", SlotText.verdict(report)))
            if let reason = report.verdict.reason {
                rows += [("why", reason.explanation), ("what to do", reason.remedy)]
            }
            if !report.detail.isEmpty { rows.append(("detail", report.detail.printable(limit: 500))) }
            if let card = job.card?.text ?? report.cardID { rows.append(("card", card.printable(limit: 40))) }
            rows += [
                ("card size", "\(Quantity.bytes(report.cardByteCount)), sectors of \(report.sectorByteCount)"),
                ("written", figures(report.bytesWritten, report.writeSeconds)),
                ("unchanged", report.bytesUnchanged.map { Quantity.bytes($0) } ?? ""),
                ("read back", figures(report.bytesVerified, report.verifySeconds)),
                ("took", Quantity.seconds(report.totalSeconds)),
            ]
            if report.rewrites > 0 { rows.append(("rewrites", "\(report.rewrites)")) }
            if let offset = report.firstBadOffset {
                rows.append(("first wrong", "at byte \(offset), \(report.badBlocks) blocks of 4 KiB"))
            }
        } else {
            rows.append(("verdict", "under way"))
        }
        for (name, value) in rows where !value.isEmpty {
            console.paragraph(value, indent: 12, first: name.padded(to: 12))
        }
    }

    private static func figures(_ bytes: UInt64, _ seconds: Double) -> String {
        guard bytes > 0, seconds > 0 else { return Quantity.bytes(bytes) }
        return "\(Quantity.bytes(bytes)) in \(Quantity.seconds(seconds)), "
            + Quantity.rate(bytesPerSecond: Double(bytes) / seconds)
    }
}
