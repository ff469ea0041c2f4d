import Glibc
import StationCore
import Testing

/// Reads a file of the project, from its place beside this one.
private func projectFile(_ path: String) throws -> String {
    var parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    parts.removeLast(3)
    let full = parts.joined(separator: "/") + "/" + path
    let file = try #require(fopen(full, "r"), "\(full) cannot be opened")
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
    return String(decoding: bytes, as: UTF8.self)
}

/// The catalog as journald reads it: the text behind each `-- ID`.
private func catalog() throws -> [(messageID: String, text: String)] {
    var entries: [(messageID: String, text: String)] = []
    for line in try projectFile("systemd/catalog/flashing-station.catalog").split(
        separator: "\n", omittingEmptySubsequences: false)
    {
        if line.hasPrefix("-- ") {
            entries.append((String(line.dropFirst(3)), ""))
        } else if !entries.isEmpty {
            entries[entries.count - 1].text += line + "\n"
        }
    }
    return entries
}

/// The `@FIELD@` references of a text that journald fills in: capital letters and underscores only.
private func references(in text: String) -> [String] {
    var found: [String] = []
    let pieces = text.split(separator: "@", omittingEmptySubsequences: false)
    for piece in pieces.dropFirst().dropLast() {
        if !piece.isEmpty, piece.allSatisfy({ ("A"..."Z").contains($0) || $0 == "_" }) { found.append(String(piece)) }
    }
    return found
}

private struct Fixture {
    let slot: SlotName
    let token = InsertionToken(bootID: "2f3a", deviceSequence: 41)
    let image: ImageName
    let sha256: SHA256Digest
    let jobID: JobID
    var device: DeviceRecord
    var assignment: Assignment

    init() throws {
        slot = try SlotName("slot1")
        image = try ImageName("grub-rescue-usb")
        sha256 = try #require(SHA256Digest(String(repeating: "ab", count: 32)))
        jobID = try #require(JobID("1a2b3c4d" + String(repeating: "0", count: 24)))
        device = DeviceRecord(
            name: "sda", devicePath: "/devices/x/block/sda", deviceSequence: 41, byteCount: 512_000_000, place: nil,
            reader: nil, model: "Generic STORAGE")
        assignment = Assignment(image: image, sha256: sha256, byteCount: 5_081_088)
    }

    func start(isDryRun: Bool = false, trigger: JobTrigger = .insertion, caller: UInt32? = nil) -> JobStart {
        JobStart(
            id: jobID, slot: slot, token: token, device: device, assignment: assignment, condition: .none,
            isDryRun: isDryRun, trigger: trigger, callerUserID: caller)
    }

    func passed() -> JobReport {
        var report = JobReport(.passed)
        report.cardByteCount = 512_000_000
        report.bytesWritten = 5_081_088
        report.bytesVerified = 5_081_088
        report.writeSeconds = 0.42
        report.verifySeconds = 0.209
        return report
    }

    /// An update of a card that had all of it.
    func passedUnwritten() -> JobReport {
        var report = passed()
        report.bytesWritten = 0
        report.writeSeconds = 0
        report.bytesUnchanged = 5_081_088
        return report
    }

    /// The poorest entry of each outcome: what it has, every entry of its kind has.
    func poorest() throws -> [JournalEntry] {
        let image = ImageRecord(name: image, sha256: sha256, byteCount: 1, importedAt: 0, importedByUserID: 1000)
        let slotError = StationError("config_syntax", "slot1.slot:2: no Key=value line")
        var card = CardRecord(
            card: CardKey(firstFailure: jobID), identity: .marker, byteCount: 1, model: "", at: 0)
        card.failed(
            CardRecord.Failure(job: jobID, slot: slot, reason: .writeError, at: 0, wasClockSynchronised: false))
        let conspicuous = ["slot_failing", "slot_slow"].compactMap {
            JournalEntry.slotConspicuous(slot, StationError($0, "slot1 does", remedy: "mend it"))
        }
        let triple = try BuilderTriple(release: "24.10.2", target: "x86", subtarget: "64")
        let builder = BuilderRecord(triple: triple, state: .ready, changedAt: 1, changedByUserID: nil)
        let build = BuildRecord(
            sequence: 1, id: BuildID(), profileID: "p", profileVersion: 1, triple: triple, key: sha256,
            builderSHA256: sha256, state: .succeeded, startedAt: 1, wasClockSynchronised: true, callerUserID: nil)
        return conspicuous + [
            try #require(.cardSuspect(slot, card, device)), .cardForgiven(card, callerUserID: 0),
            .slotDisarmedByFailures(slot, .failuresInARow, assignment: nil),
            .stationStarted(version: "1", slotCount: 1), .stationStopping(runningJobCount: 0),
            .stationWaits([slot], atMostSeconds: 300), .historyShortened(jobCount: 1, days: 365),
            .jobBegan(start()), .cardWaits(slot, .disarmed, device, assignment: nil),
            .cardRefused(slot, .readerChanged, device, assignment: nil), .jobEnded(start(), passedUnwritten()),
            .jobEnded(start(), JobReport(.failed(.writeError))), .jobEnded(start(), JobReport(.refused(.deviceBusy))),
            .jobEnded(start(), JobReport(.cancelled)), .jobEnded(start(), JobReport(.interrupted)),
            .jobEnded(start(isDryRun: true), JobReport(.passed)), .jobStuck(start()),
            .cardSlow(start(), SlowCard(bytesPerSecond: 1e6, usualBytesPerSecond: 2e7, isWriting: true)),
            .slotAssigned(slot, assignment, callerUserID: 0), .slotArmed(slot, nil, callerUserID: 0),
            .slotDisarmed(slot, nil, callerUserID: nil), .slotUnassigned(slot, callerUserID: nil),
            .placeUndeclared(device),
            .readerAtOtherSpeed(
                SlotDeclaration(
                    name: slot, place: .usb(controller: "x", hubSpeed: 5000, ports: "1", lun: 0), reader: .mmcHost),
                device), .slotFileProblem(fileName: "x y.slot", slotError), .imageImported(image),
            .imageRemoved(image.name, sha256, callerUserID: 0),
            .monitorRestored(cause: "the buffer was full", deviceCount: 3), .devicesUnseen(),
            .lightProblem(StationError("light_missing", "there is no LED x")),
            .builderReady(builder, callerUserID: nil), .builderFailed(triple, StationError("a", "b")),
            .builderDoubtful(triple, StationError("a", "b", remedy: "c")),
            .buildSucceeded(build), .buildFailed(build, StationError("a", "b")), .buildReused(build),
            .slotPreparing(slot, profile: "p", callerUserID: 0),
            .storeProblem(StationError("store_unusable", "the store cannot be opened")),
            .backupMade(
                BackupManifest(
                    stationVersion: "1", hostName: "h", createdAt: 1, wasClockSynchronised: true,
                    hasBuilders: true,
                    store: StoreSummary(
                        schemaVersion: 1, imageCount: 0, profileCount: 0, buildCount: 0, jobCount: 0, cardCount: 0,
                        byteCount: 0), slotCount: 0, members: []), path: "/b.tar", callerUserID: 0),
            .stationRestored(RestoreCommit(exchanges: [], hostName: "h", createdAt: 1, callerUserID: 0)),
        ]
    }
}

@Suite("What the journal is told")
struct JournalEntryTests {
    @Test("every outcome has an id of its own and an entry in the catalog, and the catalog has no others")
    func catalogIsComplete() throws {
        let ids = JournalEntry.Outcome.allCases.map(\.messageID)
        #expect(Set(ids).count == ids.count)
        for id in ids { #expect(id.utf8.count == 32 && id.isLowerHexadecimal && Set(id) != ["0"]) }
        let entries = try catalog()
        #expect(entries.map(\.messageID).sorted() == ids.sorted())
    }

    @Test("a catalog entry has the form that journald wants, and names only fields that are always there")
    func catalogIsValid() throws {
        let poorest = try Fixture().poorest()
        #expect(Set(poorest.map(\.outcome)) == Set(JournalEntry.Outcome.allCases))
        for (id, text) in try catalog() {
            #expect(text.hasPrefix("Subject: "), "\(id)")
            let parts = text.split(separator: "\n\n", maxSplits: 1)
            #expect(parts.count == 2, "\(id): no empty line between head and text")
            #expect(parts[0].contains("\nDefined-By: flashing-station"), "\(id)")
            let names = references(in: text)
            // A reference with a digit, or a misspelt one, would show as it stands.
            #expect(text.count { $0 == "@" } == names.count * 2, "\(id): an @ that belongs to no field")
            for entry in poorest where entry.messageID == id {
                for name in names {
                    #expect(entry.fields[name] != nil, "\(entry.outcome): \(name) is not always there")
                }
            }
        }
    }

    @Test("a passed card is told with its figures and all fields")
    func passed() throws {
        var fixture = try Fixture()
        fixture.device.cardID = "0353445344333247"
        let entry = JournalEntry.jobEnded(fixture.start(caller: 1000), fixture.passed(), run: "7")
        #expect(
            entry.message
                == "slot1: PASSED — grub-rescue-usb, 5.08 MB written in 0.4 s (12.1 MB/s), "
                + "read back in 0.2 s (24.3 MB/s), card 512 MB, job 1a2b3c4d"
        )
        #expect(entry.messageID == "9838f06f931a405cb6a0dc219b361a8e")
        #expect(entry.priority == 5)
        #expect(
            entry.fields == [
                "STATION_SLOT": "slot1", "STATION_JOB": fixture.jobID.text, "STATION_RUN": "7",
                "STATION_IMAGE": "grub-rescue-usb", "STATION_IMAGE_SHA256": fixture.sha256.hexadecimal,
                "STATION_CARD_CID": "0353445344333247", "STATION_CARD_BYTES": "512000000", "STATION_DEVICE": "sda",
                "STATION_BYTES_WRITTEN": "5081088", "STATION_WRITE_SECONDS": "0.420",
                "STATION_VERIFY_SECONDS": "0.209", "STATION_VERDICT": "passed", "STATION_CALLER_UID": "1000",
            ])
    }

    @Test("a failed card is told with reason, offset and what to do")
    func failed() throws {
        let fixture = try Fixture()
        var report = JobReport(.failed(.dataMismatch), detail: "2 rewrites did not help")
        report.firstBadOffset = 1_048_576
        report.badBlocks = 3
        report.bytesWritten = 5_081_088
        report.foundMarker = JobID(String(repeating: "f", count: 32))
        report.foundMarkerFailed = true
        let entry = JournalEntry.jobEnded(fixture.start(), report)
        #expect(
            entry.message
                == "slot1: FAILED — data_mismatch: what was read back is not what was written, first at byte 1048576 "
                + "(3 blocks of 4 KiB); 2 rewrites did not help; this card failed here before, in job ffffffff; "
                + "set the card aside; job 1a2b3c4d"
        )
        #expect(entry.priority == 4)
        #expect(entry.fields["STATION_REASON"] == "data_mismatch")
        #expect(entry.fields["STATION_VERDICT"] == "failed")
        #expect(entry.fields["STATION_BAD_OFFSET"] == "1048576")
        #expect(entry.fields["STATION_BAD_BLOCKS"] == "3")
        #expect(entry.fields["STATION_REMEDY"] == "set the card aside")
        #expect(entry.fields["STATION_VERIFY_SECONDS"] == nil, "nothing was found equal")
    }

    @Test("what is the station's fault is an error, what is a card's a warning", arguments: Reason.allCases)
    func priorities(reason: Reason) throws {
        let fixture = try Fixture()
        for verdict in [Verdict.failed(reason), .refused(reason)] {
            let entry = JournalEntry.jobEnded(fixture.start(), JobReport(verdict))
            #expect(entry.priority == (reason.fault == .station ? 3 : 4))
            #expect(entry.fields["STATION_REASON"] == reason.rawValue)
            #expect(entry.fields["STATION_VERDICT"] == verdict.word)
        }
    }

    @Test("what the station itself takes away is nobody's doing")
    func withdrawn() throws {
        let fixture = try Fixture()
        for entry in [
            JournalEntry.slotDisarmed(fixture.slot, nil, callerUserID: nil),
            JournalEntry.slotUnassigned(fixture.slot, callerUserID: nil),
        ] {
            #expect(entry.fields["STATION_CALLER_UID"] == nil && !entry.message.contains("uid"))
        }
        #expect(JournalEntry.slotDisarmed(fixture.slot, nil, callerUserID: 7).message.contains("by uid 7"))
    }

    @Test("a dry run that found nothing wrong never reads like a pass", arguments: [Verdict.passed, .refused(.dryRun)])
    func dryRun(verdict: Verdict) throws {
        let fixture = try Fixture()
        let entry = JournalEntry.jobEnded(fixture.start(isDryRun: true), JobReport(verdict))
        #expect(entry.outcome == .dryRunEnded)
        #expect(!entry.message.contains("PASSED"))
        #expect(entry.fields["STATION_VERDICT"] == nil)
        let refused = JournalEntry.jobEnded(fixture.start(isDryRun: true), JobReport(.refused(.deviceBusy)))
        #expect(refused.outcome == .jobRefused)
        #expect(refused.message.hasPrefix("slot1: dry run REFUSED — device_busy"))
    }

    @Test("remedies name the slot and the disk")
    func remedies() throws {
        let slot = try SlotName("left-2")
        #expect(
            Reason.writerUnreachable.remedy(slot: slot, device: "sdb")
                == "systemctl status station-writer@left-2.socket station-writer@left-2")
        #expect(Reason.permissionDenied.remedy(slot: slot, device: "sdb").hasSuffix("udevadm info /dev/sdb"))
        #expect(Reason.writerLost.remedy(slot: slot, device: "sdb").hasSuffix("journalctl STATION_SLOT=\(slot)"))
        #expect(Reason.imageMissing.remedy(slot: slot, device: "sdb") == Reason.imageMissing.remedy)
    }

    @Test("a card in an undeclared place is told with the command that declares it")
    func undeclared() throws {
        let fixture = try Fixture()
        let entry = JournalEntry.placeUndeclared(fixture.device)
        #expect(entry.message.contains("sudo stationctl slot learn NAME --device sda"))
        #expect(entry.fields["STATION_DEVICE"] == "sda")
        #expect(entry.fields["STATION_SLOT"] == nil)
    }

    @Test("what a device says of itself stays in its line and in its field")
    func printable() throws {
        var fixture = try Fixture()
        fixture.device.model = "nice\nSTATION_VERDICT=passed\u{1B}[2J"
        fixture.device.cardID = "a\nMESSAGE=forged"
        let report = JobReport(.failed(.readError), detail: "line one\nline two")
        for entry in [JournalEntry.jobBegan(fixture.start()), .jobEnded(fixture.start(), report)] {
            for line in entry.assignments {
                #expect(line.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 })
            }
            #expect(entry.assignments.count { $0.hasPrefix("MESSAGE=") } == 1)
        }
    }

    @Test("empty fields are left out, and the order of fields is fixed")
    func assignments() throws {
        let fixture = try Fixture()
        let error = StationError("config_syntax", "line 2 is wrong")
        let entry = JournalEntry.slotFileProblem(fileName: "slot1.slot", error)
        #expect(
            entry.assignments == [
                "MESSAGE=The slot file slot1.slot is not used: line 2 is wrong",
                "MESSAGE_ID=d0363e7ab1284d51a473231e60b23e3a", "PRIORITY=3", "STATION_REASON=config_syntax",
                "STATION_SLOT=slot1",
            ])
        var bare = fixture.device
        bare.cardID = ""
        bare.byteCount = 0
        let refused = JournalEntry.cardRefused(fixture.slot, .slotAmbiguous, bare, assignment: nil)
        #expect(
            Set(refused.fields.keys) == [
                "STATION_SLOT", "STATION_DEVICE", "STATION_VERDICT", "STATION_REASON", "STATION_REMEDY",
            ])
    }

    @Test("a job found without an end is interrupted")
    func unfinished() throws {
        let fixture = try Fixture()
        let record = JobRecord(sequence: 1, start: fixture.start(), startedAt: 0, wasClockSynchronised: true)
        let entry = JournalEntry.jobFoundUnfinished(record)
        #expect(entry.outcome == .jobInterrupted)
        #expect(entry.fields["STATION_JOB"] == fixture.jobID.text)
        #expect(entry.fields["STATION_VERDICT"] == "interrupted")
    }
}
