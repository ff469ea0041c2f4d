package import StationCore
import Synchronization

extension Store {
    /// The jobs that a query asks for, newest first.
    /// - Throws: `verdict_unknown`, `job_id_invalid`, `card_invalid`.
    package func history(_ query: Control.HistoryQuery) async throws(StationError) -> [JobRecord] {
        _ = try HistoryStatement(query)
        let (rows, overdue) = try await perform { database in
            // The file does not know yet what these came to.
            let overdue = self.overdue.withLock { $0 }
            if let images = HistoryStatement.imagesNamed(query.image),
                try database.query(images.text, images.parameters).isEmpty
            {
                return ([StoreRow](), overdue)
            }
            var inFile = query
            if !overdue.isEmpty, query.verdict != nil {
                // So it cannot pick them either.
                (inFile.verdict, inFile.limit) = (nil, HistoryStatement.largestLimit)
            }
            let statement = try HistoryStatement(inFile)
            return (try database.query(statement.text, statement.parameters), overdue)
        }
        // Nearly all of the work is reading the rows' JSON: here, where no verdict that waits for the store's queue waits for it,
        // and on two threads.
        let middle = rows.count / 2
        async let older = Self.records(rows[middle...], completedBy: overdue)
        let newer = try Self.records(rows[..<middle], completedBy: overdue).get()
        let records = try await newer + older.get()
        guard !overdue.isEmpty, let verdict = query.verdict else { return records }
        let wanted = records.filter { $0.report?.verdict.word == verdict }
        return Array(wanted.prefix(query.limit ?? HistoryStatement.defaultLimit))
    }

    private static func records(
        _ rows: ArraySlice<StoreRow>, completedBy overdue: [JobEnding]
    ) -> Result<[JobRecord], StationError> {
        Result { () throws(StationError) in
            try rows.map { row throws(StationError) in try JobRecord(row).completed(by: overdue) }
        }
    }
}

/// A history query as SQL that reads an index and then only the rows it shows.
struct HistoryStatement: Sendable {
    static let defaultLimit = 50
    static let largestLimit = 10_000

    var text: String
    var parameters: [StoreValue] = []

    /// - Throws: `verdict_unknown`, `job_id_invalid`, `card_invalid`.
    init(_ query: Control.HistoryQuery) throws(StationError) {
        var conditions: [String] = []
        var index = "jobs_in_order"
        if let slot = query.slot {
            if Self.isGlob(slot) {
                conditions.append("slot GLOB ?")
                parameters.append(.text(Self.glob(slot)))
            } else {
                index = "jobs_of_slot"
                conditions.append("slot = ?")
                parameters.append(.text(slot))
            }
        }
        if let job = query.job, !job.isEmpty {
            guard job.isLowerHexadecimal else {
                throw StationError(
                    "job_id_invalid", "“\(job.printable(limit: 40))” is not the beginning of a job id",
                    remedy: "job ids are of 0–9 and a–f, as stationctl history shows them")
            }
            index = "jobs_by_id"
            conditions.append("id >= ? AND id < ?")
            // Behind every digit.
            parameters += [.text(job), .text(job + "g")]
        }
        if let card = query.card {
            try CardReference.check(card)
            index = "jobs_of_card"
            conditions.append("card IN (\(CardReference.keys))")
            parameters += CardReference.parameters(card)
        }
        if let verdict = query.verdict {
            let words = ["passed", "failed", "refused", "cancelled", "interrupted"]
            guard words.contains(verdict) else {
                throw StationError(
                    "verdict_unknown", "“\(verdict.printable(limit: 40))” is no verdict",
                    remedy: verdict.nearest(in: words).map { "did you mean \($0)?" }
                        ?? "use one of " + words.joined(separator: ", "))
            }
            conditions.append("verdict = ?")
            parameters.append(.text(verdict))
        }
        if let since = query.since {
            conditions.append("started_at >= ?")
            parameters.append(.real(since))
        }
        if let until = query.until {
            conditions.append("started_at < ?")
            parameters.append(.real(until))
        }
        if let image = query.image {
            if !Self.isGlob(image), index == "jobs_in_order" { index = "jobs_of_image" }
            conditions.append(Self.isGlob(image) ? "image GLOB ?" : "image = ?")
            parameters.append(.text(Self.isGlob(image) ? Self.glob(image) : image))
        }
        parameters.append(.integer(Int64(min(max(0, query.limit ?? Self.defaultLimit), Self.largestLimit))))
        let filter = conditions.isEmpty ? "" : "WHERE " + conditions.joined(separator: " AND ")
        text = """
            SELECT * FROM jobs WHERE sequence IN (
                SELECT sequence FROM jobs INDEXED BY \(index) \(filter) ORDER BY sequence DESC LIMIT ?)
            ORDER BY sequence DESC
            """
    }

    /// Finds out whether any job was of an image that a pattern names; nil for what is no pattern.
    ///
    /// An index by time would be walked from end to end for an image that no job had. This goes from name to name.
    static func imagesNamed(_ pattern: String?) -> HistoryStatement? {
        guard let pattern, isGlob(pattern) else { return nil }
        return HistoryStatement(
            text: """
                WITH RECURSIVE images(image) AS (
                    SELECT min(image) FROM jobs
                    UNION ALL
                    SELECT (SELECT min(image) FROM jobs WHERE image > images.image) FROM images WHERE image IS NOT NULL)
                SELECT 1 FROM images WHERE image GLOB ? LIMIT 1
                """, parameters: [.text(glob(pattern))])
    }

    private init(text: String, parameters: [StoreValue]) {
        self.text = text
        self.parameters = parameters
    }

    private static func isGlob(_ text: String) -> Bool { text.contains { $0 == "*" || $0 == "?" } }

    /// SQLite's globs know classes, [a-z]; the station's do not.
    private static func glob(_ text: String) -> String {
        text.reduce(into: "") { $0 += $1 == "[" ? "[[]" : String($1) }
    }
}
