/// One line in the journal, with the fields by which a program finds it again.
///
/// Built from what happened, without I/O: the service sends it as it is. Everything that a device said of itself has been
/// made printable.
package struct JournalEntry: Equatable, Sendable {
    /// What happened. Each outcome has one constant MESSAGE_ID, which the journal's catalog explains.
    package enum Outcome: String, CaseIterable, Sendable {
        case stationStarted = "0b36197f5a154f37979bc8dd72392cf2"
        case stationStopping = "da4e2e293c294422a61e06771aaee70c"
        /// It was told to stop, and jobs run.
        case stationWaits = "b7b555429b2f461f85bc4cddfba2282c"
        case historyShortened = "dd5bb8cd9dde442a897d86375c954ad9"
        case jobBegan = "4fa3ad187c9b4b99bd5a94810e293730"
        case cardWaits = "0f4ae8e146eb4d0a9e6265e40d21a446"
        case cardRefused = "0bd7874e8abf4c6b88f02aa5ebfbf01e"
        case jobPassed = "9838f06f931a405cb6a0dc219b361a8e"
        case jobFailed = "1549cc21edf64472aefae13b8963ab36"
        case jobRefused = "4c5f944cd48948f68ee2abf1ba815f09"
        case jobCancelled = "db27d36fa895408797cf931d5ef78f61"
        case jobInterrupted = "462b4f7489684e5bb8e9ff92172d5692"
        /// The guard let a card through that nobody wanted written.
        case dryRunEnded = "5aee1d0104524e8e874e898512dcc36a"
        case jobStuck = "d7c47c2485f848b5bd14c7971fe28575"
        case slotAssigned = "c094c3f9ae214970bf2b72af225b68b2"
        case slotArmed = "d9f52bc2afa3494e83592531627d9b65"
        case slotDisarmed = "f3ada29b155f4851897d3c5149874226"
        case slotUnassigned = "1014cbf0ca174178b3e15364933daad3"
        case placeUndeclared = "a40b4cba8b2c4c59afa07daf11eea905"
        case readerAtOtherSpeed = "b2a96cf79dd14aa2bb6a1b1a27d2bd26"
        case slotFileProblem = "d0363e7ab1284d51a473231e60b23e3a"
        case imageImported = "e488dca5202144a9a34d0642c179ef09"
        case imageRemoved = "f4dec4ed4dc143d2b5ab7134e387ed2c"
        case monitorRestored = "1fe3679e8a8d4d9885bc10d6c2b53b15"
        case devicesUnseen = "b6320c2475c8420288f5ee19adc9c7f4"
        case lightProblem = "95a9c95cebb6481fb2b81b77e728f301"
        case slotDisarmedByFailures = "2171d2b862014e70903afdeb657bda8c"
        case cardSuspect = "b0f0e77b3a23461a8c06bd4873b8d172"
        case cardForgiven = "3efdb772b4cf4169bb90b12b56709625"
        case slotFailing = "5bcc2dc5e0284fb181073c304d6c0ab8"
        case slotSlow = "c67645b125ca4cdeb1216156f72200d3"
        case cardSlow = "71ba48da8b9949bb97ba94c644337209"
        case storeProblem = "7b0de9f1c3a84d06a8f7f0d1c5a9e264"
        case builderReady = "0ee0c3268a4e402b8b455960e47577cb"
        case builderFailed = "e92e5ca69281449d901c505f0e89f1cc"
        /// It is used all the same, as the configuration wants.
        case builderDoubtful = "77eefd4779a6484c83b21adeff653a6a"
        case buildSucceeded = "361a88875e3c437a96828f420c1d6849"
        case buildFailed = "2f7c00e5fb5c4606a6cbd68d83a8a19a"
        case buildReused = "1fa0533bfd4b436e96a8eeb477cefc9d"
        case slotPreparing = "6803ad60fe5e4da189501c395e34ba23"
        case backupMade = "c7c668cc98c7435cba467ab38ad5c779"
        case stationRestored = "f1c9b8b591024a9b971d0f712b7a2f24"

        /// 32 hexadecimal digits, the same for ever.
        package var messageID: String { rawValue }
    }

    /// The fields of ours. Only what is known is there.
    package enum Field: String, CaseIterable, Sendable {
        case slot = "STATION_SLOT"
        case job = "STATION_JOB"
        case run = "STATION_RUN"
        case profile = "STATION_PROFILE"
        case build = "STATION_BUILD"
        /// An Image Builder: release, target and subtarget.
        case builder = "STATION_BUILDER"
        case image = "STATION_IMAGE"
        case imageSHA256 = "STATION_IMAGE_SHA256"
        case cardID = "STATION_CARD_CID"
        case cardByteCount = "STATION_CARD_BYTES"
        /// By what the station knows the card again.
        case card = "STATION_CARD"
        case device = "STATION_DEVICE"
        case bytesWritten = "STATION_BYTES_WRITTEN"
        case bytesUnchanged = "STATION_BYTES_UNCHANGED"
        case writeSeconds = "STATION_WRITE_SECONDS"
        case verifySeconds = "STATION_VERIFY_SECONDS"
        case badOffset = "STATION_BAD_OFFSET"
        case badBlocks = "STATION_BAD_BLOCKS"
        case verdict = "STATION_VERDICT"
        /// A reason's stable code, or that of an error.
        case reason = "STATION_REASON"
        /// What to do about it.
        case remedy = "STATION_REMEDY"
        case callerUserID = "STATION_CALLER_UID"
    }

    /// The priorities of syslog that are used here.
    package enum Priority: Int, Sendable {
        case error = 3
        case warning, notice, information
    }

    package var outcome: Outcome
    package var priority: Int
    /// One line for a person.
    package var message: String
    /// By name, without MESSAGE, MESSAGE_ID and PRIORITY.
    package var fields: [String: String]

    package var messageID: String { outcome.messageID }

    /// All fields as `NAME=value`, in a fixed order: what `sd_journal_sendv` takes.
    package var assignments: [String] {
        ["MESSAGE=\(message)", "MESSAGE_ID=\(messageID)", "PRIORITY=\(priority)"]
            + fields.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    }

    init(_ outcome: Outcome, _ priority: Priority, _ message: String, _ fields: [Field: String?] = [:]) {
        self.outcome = outcome
        self.priority = priority.rawValue
        self.message = message.printable(limit: 1000)
        self.fields = [:]
        for case (let field, let value?) in fields where !value.isEmpty {
            self.fields[field.rawValue] = value.printable(limit: 1000)
        }
    }
}

// MARK: The station

extension JournalEntry {
    package static func stationStarted(version: String, slotCount: Int) -> JournalEntry {
        JournalEntry(
            .stationStarted, .information,
            "Flashing station \(version) is watching \(Quantity.counted(slotCount, "slot")).")
    }

    package static func stationStopping(runningJobCount: Int) -> JournalEntry {
        runningJobCount == 0
            ? JournalEntry(.stationStopping, .information, "Flashing station is stopping; no job was running.")
            : JournalEntry(
                .stationStopping, .warning,
                "Flashing station is stopping; \(Quantity.counted(runningJobCount, "job")) will be interrupted.")
    }

    package static func stationWaits(_ slots: [SlotName], atMostSeconds: Double) -> JournalEntry {
        JournalEntry(
            .stationWaits, .notice,
            """
            Flashing station stops when \(slots.map(\.text).joined(separator: ", ")) \(slots.count == 1 ? "has" : "have") \
            ended, in \(Int(atMostSeconds.rounded(.up))) s at the latest; nothing is begun any more.
            """)
    }

    /// Old jobs are no longer on record.
    package static func historyShortened(jobCount: Int, days: Int) -> JournalEntry {
        JournalEntry(
            .historyShortened, .information,
            "History: \(jobCount) job\(jobCount == 1 ? "" : "s") older than \(days) days forgotten (HistoryDays=\(days))"
        )
    }

    /// A card came into a place that no slot file names.
    package static func placeUndeclared(_ device: DeviceRecord) -> JournalEntry {
        let command = "sudo stationctl slot learn NAME --device \(device.name.printable(limit: 40))"
        return JournalEntry(
            .placeUndeclared, .notice,
            "\(card(device)) is in a place that no slot declares, and is left alone; to make it a slot: \(command)",
            [
                .device: device.name, .cardID: device.cardID, .cardByteCount: String(device.byteCount),
                .remedy: command,
            ])
    }

    /// A slot's reader came up on the side of its port that is of another speed class.
    package static func readerAtOtherSpeed(_ slot: SlotDeclaration, _ device: DeviceRecord) -> JournalEntry {
        let remedy = Explanation.otherSideRemedy(slot)
        return JournalEntry(
            .readerAtOtherSpeed, .warning,
            "\(slot.name): \(Explanation.otherSideFinding(slot, device)); \(remedy)",
            [.slot: slot.name.text, .device: device.name, .remedy: remedy])
    }

    /// A slot file that was refused.
    /// - Parameter fileName: such as `slot1.slot`; where it is the directory's, the error names the file.
    package static func slotFileProblem(fileName: String, _ error: StationError) -> JournalEntry {
        let name = fileName.split(separator: "/").last.map(String.init) ?? fileName
        let isFile = name.hasSuffix(".slot")
        let slot = isFile ? try? SlotName(String(name.dropLast(5))) : nil
        return JournalEntry(
            .slotFileProblem, .error, "\(isFile ? "The slot file \(fileName)" : "A slot file") is not used: \(error)",
            [.slot: slot?.text, .reason: error.code, .remedy: error.remedy])
    }

    /// The station's records could not be read or written as they should.
    package static func storeProblem(_ error: StationError) -> JournalEntry {
        JournalEntry(
            .storeProblem, .error, "The station's records have a problem: \(error)",
            [.reason: error.code, .remedy: error.remedy])
    }

    /// A light cannot be driven, or two slots claim it. It is said once, until the light has worked again.
    package static func lightProblem(_ error: StationError) -> JournalEntry {
        JournalEntry(
            .lightProblem, .warning, "A light shows nothing: \(error)", [.reason: error.code, .remedy: error.remedy])
    }

    /// Events of devices were lost, or udev was started anew, and everything has been looked at again.
    package static func monitorRestored(cause: String, deviceCount: Int) -> JournalEntry {
        JournalEntry(
            .monitorRestored, .warning,
            "Device events were lost (\(cause)); looked at \(Quantity.counted(deviceCount, "block device")) again.")
    }

    /// Something happened to a device, and the station cannot look.
    package static func devicesUnseen() -> JournalEntry {
        let remedy = "systemctl show stationd.service --property=LimitNOFILE"
        return JournalEntry(
            .devicesUnseen, .error,
            "No file descriptor is to be had, so devices cannot be looked at; it is tried until they can; \(remedy)",
            [.remedy: remedy])
    }
}

// MARK: Slots and images

extension JournalEntry {
    package static func slotAssigned(_ slot: SlotName, _ assignment: Assignment, callerUserID: UInt32) -> JournalEntry {
        consent(
            .slotAssigned, slot, assignment,
            "armed: its next cards get \(assignment.image), \(Quantity.bytes(assignment.byteCount)), "
                + "sha256 \(assignment.sha256.short)…", callerUserID)
    }

    /// - Parameter callerUserID: nil for the station itself, as where a slot's file is gone.
    package static func slotUnassigned(_ slot: SlotName, callerUserID: UInt32?) -> JournalEntry {
        consent(.slotUnassigned, slot, nil, "unassigned and disarmed: no card is written", callerUserID)
    }

    package static func slotArmed(_ slot: SlotName, _ assignment: Assignment?, callerUserID: UInt32) -> JournalEntry {
        let next = assignment.map { ": its next cards get \($0.image)" } ?? ""
        return consent(.slotArmed, slot, assignment, "armed\(next)", callerUserID)
    }

    /// - Parameter callerUserID: nil for the station itself, as where a slot's file went bad.
    package static func slotDisarmed(
        _ slot: SlotName, _ assignment: Assignment?, callerUserID: UInt32?
    ) -> JournalEntry {
        consent(.slotDisarmed, slot, assignment, "disarmed: no card is written until it is armed again", callerUserID)
    }

    private static func consent(
        _ outcome: Outcome, _ slot: SlotName, _ assignment: Assignment?, _ what: String, _ caller: UInt32?
    ) -> JournalEntry {
        let who = caller.map { "by uid \($0)" } ?? "by the station: its slot file is gone or cannot be used"
        return JournalEntry(
            outcome, .notice, "\(slot): \(what) (\(who))",
            [
                .slot: slot.text, .image: assignment?.image.text, .imageSHA256: assignment?.sha256.hexadecimal,
                .profile: assignment?.profile, .build: assignment?.build?.text,
                .callerUserID: caller.map { String($0) },
            ])
    }

    package static func imageImported(_ image: ImageRecord) -> JournalEntry {
        JournalEntry(
            .imageImported, .notice,
            "Image \(image.name) imported: \(Quantity.bytes(image.byteCount)), sha256 \(image.sha256.short)… "
                + "(by uid \(image.importedByUserID))",
            [
                .image: image.name.text, .imageSHA256: image.sha256.hexadecimal,
                .callerUserID: String(image.importedByUserID),
            ])
    }

    package static func imageRemoved(_ name: ImageName, _ sha256: SHA256Digest, callerUserID: UInt32) -> JournalEntry {
        JournalEntry(
            .imageRemoved, .notice, "Image \(name) removed (by uid \(callerUserID))",
            [.image: name.text, .imageSHA256: sha256.hexadecimal, .callerUserID: String(callerUserID)])
    }
}

// MARK: Cards and jobs

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
    package static func cardSlow(_ start: JobStart, _ pace: CardPace, run: String? = nil) -> JournalEntry {
        JournalEntry(
            .cardSlow, .warning, "\(start.slot): \(pace.explanation); \(CardPace.remedy); job \(start.id.short)",
            job(start, run).merging([.reason: "card_slow", .remedy: CardPace.remedy]) { $1 })
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
    private static func card(_ device: DeviceRecord) -> String {
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
