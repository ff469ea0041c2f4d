import StationCore

/// Jobs as a table for spreadsheets: one record each, figures without units, times with their time zone.
enum HistoryCSV {
    private static let headings = [
        "sequence", "job", "began", "clock_synchronised", "slot", "image", "image_sha256", "image_bytes", "verdict",
        "reason", "detail", "trigger", "dry_run", "caller_uid", "reader", "card_id", "card_bytes", "bytes_written",
        "bytes_verified", "write_seconds", "verify_seconds", "total_seconds", "rewrites", "first_bad_offset",
        "bad_blocks", "read_back_sha256",
    ]

    static func text(_ jobs: [JobRecord]) -> String {
        CSV.record(headings.map { .text($0) }) + jobs.map { CSV.record(fields($0)) }.joined()
    }

    private static func fields(_ job: JobRecord) -> [CSV.Field] {
        let report = job.report
        let text: (String?) -> CSV.Field = { $0.map { .text($0.printable(limit: 1000)) } ?? .none }
        let count: (UInt64?) -> CSV.Field = { $0.map { .count($0) } ?? .none }
        let seconds: (Double?) -> CSV.Field = { $0.map { .number($0, digits: 3) } ?? .none }
        return [
            .count(UInt64(max(0, job.sequence))), .text(job.id.text), .text(LocalTime.iso8601(job.startedAt)),
            .flag(job.wasClockSynchronised), .text(job.slot.text), .text(job.image.text),
            .text(job.imageSHA256.hexadecimal), .count(job.imageByteCount), text(report?.verdict.word),
            text(report?.verdict.reason?.rawValue), text(report?.detail), .text(job.trigger.rawValue),
            .flag(job.isDryRun), count(job.callerUserID.map(UInt64.init)), text(job.model), text(report?.cardID),
            count(report?.cardByteCount), count(report?.bytesWritten), count(report?.bytesVerified),
            seconds(report?.writeSeconds), seconds(report?.verifySeconds), seconds(report?.totalSeconds),
            count(report.map { UInt64(max(0, $0.rewrites)) }), count(report?.firstBadOffset), count(report?.badBlocks),
            text(report?.readBackSHA256?.hexadecimal),
        ]
    }
}
