import StationCore
import StationLinux

/// `inspect`: looks at the card that is in, and writes nothing.
enum InspectCommand {
    static let all = [
        Command(
            "inspect", operands: "SLOT", count: 1...1,
            summary: "Says what a card is, and whether it is as it was written here",
            details:
                "Read-only, and no job: the slot's state stays as it is. When the card begins like one that was\nwritten here, it is read whole and compared. A job that begins ends it.",
            examples: ["stationctl inspect slot1", "stationctl inspect slot1 --json"], run: run)
    ]

    private static func run(_ context: Context) throws -> ExitCode {
        let console = context.console
        let shows = console.isTerminal && !context.isJSON
        let began = SystemClock.monotonicSeconds()
        var found: CardInspection?
        do {
            try context.connect().callMore(
                .inspect, Control.SlotQuery(slot: context.operands[0]), as: Control.InspectProgress.self
            ) { progress in
                found = progress.inspection
                if shows, found == nil {
                    console.redraw(
                        line(progress, seconds: SystemClock.monotonicSeconds() - began).cut(
                            to: console.size.columns - 1))
                }
                return found == nil
            }
        } catch {
            if shows { console.redraw("") }
            throw error
        }
        if shows { console.redraw("") }
        guard let found else { throw StationError("protocol_error", "the station ended without an answer") }
        if context.isJSON {
            console.json(found)
        } else {
            show(found, console)
        }
        return .success
    }

    private static func line(_ progress: Control.InspectProgress, seconds: Double) -> String {
        guard progress.bytesTotal > 0 else { return "looking" }
        let share = Double(progress.bytesDone) / Double(progress.bytesTotal)
        var text = "\(WatchView.bar(share, width: 30)) \(Int(min(1, share) * 100)) %"
        if seconds > 0.5, progress.bytesDone > 0 {
            let rate = Double(progress.bytesDone) / seconds
            text += "  \(Quantity.rate(bytesPerSecond: rate))"
            if progress.bytesTotal > progress.bytesDone {
                text += "  \(SlotText.countdown(Double(progress.bytesTotal - progress.bytesDone) / rate)) left"
            }
        }
        return text
    }

    // MARK: What it found

    private static func show(_ found: CardInspection, _ console: Console) {
        let (text, style) = summary(found)
        console.line(console.styled(text, style))
        let contents = found.contents
        var rows: [(String, String)] = [
            ("card", "\(Quantity.bytes(contents.cardByteCount)), sectors of \(contents.sectorByteCount)")
        ]
        if let cardID = contents.cardID { rows.append(("CID", cardID.printable(limit: 40))) }
        if let reproach = found.memory?.reproach { rows.append(("memory", reproach)) }
        rows.append(("table", contents.table?.printable(limit: 16) ?? "none"))
        if let text = signature(contents.signature) { rows.append(("whole card", text)) }
        if !contents.detail.isEmpty { rows.append(("detail", contents.detail.printable(limit: 500))) }
        for (name, value) in rows { console.line("\(name.padded(to: 12))\(value)") }
        guard !contents.partitions.isEmpty else { return }
        var table = Table(headings: ["PARTITION", "BEGINS AT", "SIZE", "FILE SYSTEM", "LABEL", "TYPE"])
        for part in contents.partitions {
            table.rows.append([
                .init("\(part.number)"), .init("\(part.offset)"), .init(Quantity.bytes(part.byteCount)),
                .init(part.signature.type?.printable(limit: 40) ?? "–"),
                .init((part.signature.label ?? part.name ?? "").printable(limit: 40)),
                .init(part.type?.printable(limit: 40) ?? ""),
            ])
        }
        let width = console.isTerminal ? console.size.columns : nil
        for line in table.lines(on: console, width: width) { console.line(line) }
    }

    private static func summary(_ found: CardInspection) -> (String, Console.Style) {
        switch found.origin {
        case .intact: return ("\(written(found)), still intact", .good)
        case .changed: return ("\(written(found)), changed since: \(change(found.comparison))", .attention)
        case .unfinished:
            let mark = found.contents.marker
            let state = mark?.state.printable(limit: 20) ?? ""
            let reason = mark.map { $0.reason.isEmpty ? "" : ": \($0.reason.printable(limit: 40))" } ?? ""
            guard let job = found.job else {
                return ("a job that this station does not know left it \(state)\(reason)", .bad)
            }
            return ("left \(state)\(reason) by job \(job.id.short) in \(job.slot)\(day(job)), \(job.image)", .bad)
        case .notOurs: return ("not written here, as far as the station remembers", .plain)
        case .unreadable:
            return ("could not be read: \(found.contents.failure?.explanation ?? "of an unknown reason")", .bad)
        }
    }

    /// `written here on 3 March 2026 from openwrt (job 1a2b3c4d)`.
    private static func written(_ found: CardInspection) -> String {
        guard let job = found.job else { return "written here" }
        guard found.jobCount > 1 else {
            return "written here\(day(job)) from \(job.image) (job \(job.id.short) in \(job.slot))"
        }
        return
            "written here from \(job.image), by one of \(found.jobCount) jobs, the last\(day(job)) (job \(job.id.short))"
    }

    private static func day(_ job: JobRecord) -> String {
        job.wasClockSynchronised ? " on \(LocalTime.day(job.startedAt))" : ""
    }

    private static func change(_ comparison: CardContents.Comparison?) -> String {
        guard let offset = comparison?.firstDifferentOffset, let count = comparison?.differentByteCount else {
            return "its SHA-256 is another, and the image is no longer in the library to compare"
        }
        return "\(count) \(count == 1 ? "byte differs" : "bytes differ"), the first at offset \(offset)"
    }
}

extension InspectCommand {
    /// `ext4 “rootfs” 1234-5678`; nil where there is nothing.
    fileprivate static func signature(_ signature: CardContents.Signature) -> String? {
        let parts = [
            signature.type?.printable(limit: 40), signature.label.map { "“\($0.printable(limit: 40))”" },
            signature.uuid?.printable(limit: 40),
        ].compactMap { $0 }
        return parts.isEmpty ? nil : parts.joined(separator: " ")
    }
}
