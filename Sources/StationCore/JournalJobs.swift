/// What the journal says of a card that came, and of its job.
extension JournalEntry {
    /// A card came and is not begun.
    package static func cardWaits(
        _ slot: SlotName, _ waiting: SlotMachine.Waiting, _ device: DeviceRecord, assignment: Assignment?
    ) -> JournalEntry {
        let why: String
        let remedy: String
        switch waiting {
        case .unassigned:
            (why, remedy) = (
                "nothing is assigned",
                "stationctl assign \(slot) --image NAME, then pull the card and insert it again"
            )
        case .disarmed:
            (why, remedy) = (
                "the slot is disarmed", "stationctl arm \(slot), then pull the card and insert it again"
            )
        case .sameCard:
            (why, remedy) = (
                "it begins with the same bytes as the card that left within 10 s and may be that card",
                "pull it, wait 10 s and insert it again, or: stationctl flash \(slot)"
            )
        case .preparing:
            (why, remedy) = ("its image is being built", "nothing: it is begun when the image is there")
        case .buildFailed:
            (why, remedy) = (
                "its image could not be built", "stationctl explain \(slot) says why, and what to do"
            )
        case .wasInAlready:
            (why, remedy) = (
                Reason.wasInAlready.explanation, "pull it and insert it again, or: stationctl flash \(slot)"
            )
        }
        return JournalEntry(
            .cardWaits, .notice, "\(slot): \(card(device)) waits: \(why) — \(remedy)",
            identity(slot, device, assignment).merging([.reason: waiting.rawValue, .remedy: remedy]) { $1 })
    }

    /// Something is in a slot that the station will not ask a writer about.
    package static func cardRefused(
        _ slot: SlotName, _ reason: Reason, _ device: DeviceRecord, assignment: Assignment?
    ) -> JournalEntry {
        let remedy = reason.remedy(slot: slot, device: device.name)
        return JournalEntry(
            .cardRefused, reason.fault == .station ? .error : .warning,
            "\(slot): \(card(device)) refused — \(reason.rawValue): \(reason.explanation); \(remedy)",
            identity(slot, device, assignment).merging(
                [.verdict: "refused", .reason: reason.rawValue, .remedy: remedy]) { $1 })
    }

    package static func jobBegan(_ start: JobStart, run: String? = nil) -> JournalEntry {
        let why =
            switch start.trigger {
            case .insertion: "inserted"
            case .flash: "flash was asked for" + (start.callerUserID.map { " by uid \($0)" } ?? "")
            case .resumed: "was in already; done again if it carries the mark of an unfinished job"
            case .atBoot: "was in already; the slot says AtBoot=write"
            }
        let what = start.isDryRun ? "dry run of" : "job"
        let image = start.assignment
        return JournalEntry(
            .jobBegan, .information,
            "\(start.slot): \(card(start.device)) \(why); \(what) \(start.id.short) began: "
                + "\(image.image), \(Quantity.bytes(image.byteCount))", job(start, run))
    }

    /// The end of a job, whatever it was.
    package static func jobEnded(_ start: JobStart, _ report: JobReport, run: String? = nil) -> JournalEntry {
        ended(
            Ended(
                slot: start.slot, id: start.id, image: start.assignment.image, isDryRun: start.isDryRun,
                deviceName: start.device.name), report, job(start, run))
    }

    /// A job that the store holds without an end: the station, its writer or the power went away.
    package static func jobFoundUnfinished(_ record: JobRecord) -> JournalEntry {
        let report = JobReport(.interrupted, detail: "found without an end when the station started")
        return ended(
            Ended(slot: record.slot, id: record.id, image: record.image, isDryRun: record.isDryRun, deviceName: "DISK"),
            report,
            [
                .slot: record.slot.text, .job: record.id.text, .run: record.run, .profile: record.profile,
                .image: record.image.text, .imageSHA256: record.imageSHA256.hexadecimal,
                .callerUserID: record.callerUserID.map { String($0) },
            ])
    }

    /// A job whose writer waits in the kernel and gets no answer.
    package static func jobStuck(_ start: JobStart, run: String? = nil) -> JournalEntry {
        let remedy = "pull the card; if that does not help, unplug the reader"
        return JournalEntry(
            .jobStuck, .error,
            "\(start.slot): STUCK — \(start.device.name) does not answer; \(remedy); job \(start.id.short)",
            job(start, run).merging([.remedy: remedy]) { $1 })
    }

    /// A job whose card is much slower than others were in its slot.
    package static func cardSlow(_ start: JobStart, _ pace: SlowCard, run: String? = nil) -> JournalEntry {
        JournalEntry(
            .cardSlow, .warning, "\(start.slot): \(pace.explanation); \(SlowCard.remedy); job \(start.id.short)",
            job(start, run).merging([.reason: "card_slow", .remedy: SlowCard.remedy]) { $1 })
    }

    /// What the end of a job tells of its beginning.
    private struct Ended {
        var slot: SlotName
        var id: JobID
        var image: ImageName
        var isDryRun: Bool
        var deviceName: String
    }

    private static func ended(_ job: Ended, _ report: JobReport, _ beginning: [Field: String?]) -> JournalEntry {
        var fields = beginning
        if report.cardByteCount > 0 { fields[.cardByteCount] = String(report.cardByteCount) }
        if let cardID = report.cardID { fields[.cardID] = cardID }
        if report.bytesWritten > 0 {
            fields[.bytesWritten] = String(report.bytesWritten)
            fields[.writeSeconds] = Quantity.fixed(report.writeSeconds, digits: 3)
        }
        if let bytes = report.bytesUnchanged { fields[.bytesUnchanged] = String(bytes) }
        if report.bytesVerified > 0 { fields[.verifySeconds] = Quantity.fixed(report.verifySeconds, digits: 3) }
        if let offset = report.firstBadOffset {
            fields[.badOffset] = String(offset)
            if report.badBlocks > 0 { fields[.badBlocks] = String(report.badBlocks) }
        }
        let tail = (report.detail.isEmpty ? "" : "; \(report.detail)") + marker(report)
        // A dry run never read anything back, so neither its words nor its fields may be taken for a pass.
        if job.isDryRun, [.passed, .refused(.dryRun)].contains(report.verdict) {
            return JournalEntry(
                .dryRunEnded, .notice,
                "\(job.slot): dry run ended — the card may be written with \(job.image); nothing was written\(tail), "
                    + "job \(job.id.short)", fields)
        }
        fields[.verdict] = report.verdict.word
        let remedy = report.verdict.reason?.remedy(slot: job.slot, device: job.deviceName) ?? ""
        if let reason = report.verdict.reason {
            fields[.reason] = reason.rawValue
            fields[.remedy] = remedy
        }
        let priority: Priority = report.verdict.reason?.fault == .station ? .error : .warning
        let prefix = job.isDryRun ? "\(job.slot): dry run " : "\(job.slot): "
        let end = "job \(job.id.short)"
        switch report.verdict {
        case .passed:
            return JournalEntry(
                .jobPassed, .notice, "\(prefix)PASSED — \(job.image), \(figures(report))\(tail), \(end)", fields)
        case .failed(let reason):
            return JournalEntry(
                .jobFailed, priority,
                "\(prefix)FAILED — \(reason.rawValue): \(reason.explanation)\(place(report))\(tail); \(remedy); \(end)",
                fields)
        case .refused(let reason):
            return JournalEntry(
                .jobRefused, priority,
                "\(prefix)REFUSED — \(reason.rawValue): \(reason.explanation)\(tail); nothing was written; \(remedy); "
                    + end, fields)
        case .cancelled:
            return JournalEntry(
                .jobCancelled, .notice,
                "\(prefix)CANCELLED — \(job.image)\(tail); insert the card again to have it done; \(end)", fields)
        case .interrupted:
            return JournalEntry(
                .jobInterrupted, .warning,
                "\(prefix)INTERRUPTED — \(job.image)\(tail); insert the card again to have it done; \(end)", fields)
        }
    }

    /// `5.08 MB written in 0.4 s (12.1 MB/s), read back in 0.2 s (24.3 MB/s), card 512 MB`, or
    /// `nothing written, all was there, read back in 0.2 s (24.3 MB/s), card 512 MB`.
    private static func figures(_ report: JobReport) -> String {
        func rate(_ bytes: UInt64, _ seconds: Double) -> String {
            seconds > 0 ? " (\(Quantity.rate(bytesPerSecond: Double(bytes) / seconds)))" : ""
        }
        let unchanged = report.bytesUnchanged ?? 0
        var parts = [
            report.bytesWritten == 0 && unchanged > 0
                ? "nothing written, all was there"
                : "\(Quantity.bytes(report.bytesWritten)) written in \(Quantity.seconds(report.writeSeconds))"
                    + rate(report.bytesWritten, report.writeSeconds)
                    + (unchanged > 0 ? ", \(Quantity.bytes(unchanged)) were there" : ""),
            "read back in \(Quantity.seconds(report.verifySeconds))" + rate(report.bytesVerified, report.verifySeconds),
        ]
        if report.rewrites > 0 { parts.append("\(Quantity.counted(report.rewrites, "request")) written twice") }
        if report.cardByteCount > 0 { parts.append("card \(Quantity.bytes(report.cardByteCount))") }
        return parts.joined(separator: ", ")
    }

    private static func place(_ report: JobReport) -> String {
        guard let offset = report.firstBadOffset else { return "" }
        return ", first at byte \(offset)"
            + (report.badBlocks > 0 ? " (\(Quantity.counted(Int(clamping: report.badBlocks), "block")) of 4 KiB)" : "")
    }

    private static func marker(_ report: JobReport) -> String {
        guard let found = report.foundMarker else { return "" }
        return report.foundMarkerFailed
            ? "; this card failed here before, in job \(found.short)"
            : "; the card was left unfinished by job \(found.short)"
    }

    /// `card of 512 MB (Generic STORAGE) in sda`.
    static func card(_ device: DeviceRecord) -> String {
        let model = device.model.printable(limit: 60).trimmed
        return "card of \(Quantity.bytes(device.byteCount))" + (model.isEmpty ? "" : " (\(model))")
            + " in \(device.name.printable(limit: 40))"
    }

    private static func identity(
        _ slot: SlotName, _ device: DeviceRecord, _ assignment: Assignment?
    ) -> [Field: String?] {
        [
            .slot: slot.text, .device: device.name, .cardID: device.cardID,
            .cardByteCount: device.byteCount > 0 ? String(device.byteCount) : nil, .image: assignment?.image.text,
            .imageSHA256: assignment?.sha256.hexadecimal, .profile: assignment?.profile,
            .build: assignment?.build?.text,
        ]
    }

    private static func job(_ start: JobStart, _ run: String?) -> [Field: String?] {
        identity(start.slot, start.device, start.assignment).merging(
            [.job: start.id.text, .run: run, .callerUserID: start.callerUserID.map { String($0) }]) { $1 }
    }
}

extension Reason {
    /// What to do, with the slot and the disk by name where the text says NAME, SLOT or DISK.
    package func remedy(slot: SlotName, device: String) -> String {
        var result = ""
        var word = ""
        func place(_ word: String) -> String {
            switch word {
            case "NAME", "SLOT": slot.text
            case "DISK": device.printable(limit: 40)
            default: word
            }
        }
        for character in remedy {
            if character.isLetter || character == "_" {
                word.append(character)
            } else {
                result += place(word)
                result.append(character)
                word = ""
            }
        }
        return result + place(word)
    }
}
