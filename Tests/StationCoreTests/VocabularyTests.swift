import FoundationEssentials
import StationCore
import StationTestSupport
import Testing

@Suite("Names and words")
struct VocabularyTests {
    @Test(
        "A slot's name is short and plain", arguments: ["a", "slot1", "0", "a-b_c", String(repeating: "a", count: 31)])
    func slotNames(text: String) throws {
        #expect(try SlotName(text).text == text)
        let data = try JSONEncoder().encode([SlotName(text)])
        #expect(try JSONDecoder().decode([SlotName].self, from: data) == [SlotName(text)])
    }

    @Test(
        "Nothing else is a slot's name",
        arguments: [
            "", "-a", "_a", "A", "a b", "a/b", "..", "a.b", "ä", "a\n", "a\0", String(repeating: "a", count: 32),
            "a\u{301}", "@",
        ])
    func badSlotNames(text: String) throws {
        let error = #expect(throws: StationError.self) { try SlotName(text) }
        #expect(error?.code == "slot_name_invalid")
        let data = try JSONEncoder().encode([text])
        #expect(throws: (any Error).self) { try JSONDecoder().decode([SlotName].self, from: data) }
    }

    @Test(
        "An image's name is longer and plain", arguments: ["a", "A.b_c+d-e", "0", String(repeating: "x", count: 128)])
    func imageNames(text: String) throws {
        #expect(try ImageName(text).text == text)
    }

    @Test(
        "Nothing else is an image's name",
        arguments: ["", ".a", "-a", "a/b", "a b", "a\u{202E}", String(repeating: "x", count: 129)])
    func badImageNames(text: String) {
        let error = #expect(throws: StationError.self) { try ImageName(text) }
        #expect(error?.code == "image_name_invalid")
    }

    @Test("Slots are ordered as people count")
    func slotOrder() throws {
        let names = try ["slot10", "slot2", "slot1"].map { try SlotName($0) }
        #expect(names.sorted().map(\.text) == ["slot1", "slot2", "slot10"])
    }

    @Test("Job ids are new each time and have one form")
    func jobIDs() throws {
        let ids = (0..<1000).map { _ in JobID() }
        #expect(Set(ids).count == 1000)
        #expect(ids.allSatisfy { JobID($0.text) == $0 && $0.short.count == 8 })
        for text in [
            "", "abc", String(repeating: "A", count: 32), String(repeating: "0", count: 33),
            String(repeating: "g", count: 32),
        ] {
            #expect(JobID(text) == nil)
        }
    }

    @Test("Digests have one form")
    func digests() {
        let bytes = (0..<32).map { UInt8($0) }
        let digest = SHA256Digest(bytes: bytes)
        #expect(digest?.hexadecimal == "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
        #expect(digest.flatMap { SHA256Digest($0.hexadecimal) } == digest)
        #expect(SHA256Digest(bytes: bytes.dropLast()) == nil)
        #expect(SHA256Digest(String(repeating: "A", count: 64)) == nil)
        #expect(SHA256Digest(String(repeating: "a", count: 63)) == nil)
    }

    // MARK: Verdicts and reasons

    private static let verdicts: [Verdict] =
        [.passed, .cancelled, .interrupted] + Reason.allCases.flatMap { [.failed($0), .refused($0)] }

    @Test("A verdict says the same when it is written and read, in JSON and in two columns")
    func verdicts() throws {
        for verdict in Self.verdicts {
            #expect(Verdict(word: verdict.word, reason: verdict.reason) == verdict)
            let data = try JSONEncoder().encode(verdict)
            #expect(try JSONDecoder().decode(Verdict.self, from: data) == verdict)
        }
    }

    @Test(
        "Nothing else is a verdict",
        arguments: [
            #"{"verdict":"passed","reason":"write_error"}"#, #"{"verdict":"failed"}"#, #"{"verdict":"refused"}"#,
            #"{"verdict":"cancelled","reason":"dry_run"}"#, #"{"verdict":"Passed"}"#,
            #"{"verdict":"failed","reason":"nonsense"}"#, "{}",
            #"{"verdict":""}"#,
        ])
    func badVerdicts(json: String) {
        #expect(throws: (any Error).self) { try JSONDecoder().decode(Verdict.self, from: Data(json.utf8)) }
    }

    @Test("Every reason has a stable code, a sentence and a remedy", arguments: Reason.allCases)
    func reasons(reason: Reason) {
        #expect(reason.rawValue.utf8.allSatisfy { (97...122).contains($0) || $0 == 95 })
        #expect(!reason.explanation.isEmpty && !reason.remedy.isEmpty)
        #expect(Reason(rawValue: reason.rawValue) == reason)
    }

    @Test("Only what a card did is a card's fault")
    func faults() {
        for reason: Reason in [
            .writeError, .readError, .dataMismatch, .markerMissing, .capacityFalse, .wipeIncomplete, .shortWrite,
        ] {
            #expect(reason.fault == .card)
        }
        for reason: Reason in [.cardRemoved, .cardChanged, .sequenceMismatch] { #expect(reason.fault == .operation) }
        for reason: Reason in [
            .hashMismatch, .imageUnreadable, .deviceIsSystemDisk, .slotFileUntrusted, .internalError,
        ] {
            #expect(reason.fault == .station)
        }
    }

    // MARK: Contents

    @Test("A content's patches lie within it, in order, and do not overlap")
    func patches() throws {
        func content(_ patches: [(UInt64, Int)], byteCount: UInt64 = 10_000) throws -> Content {
            Content(
                byteCount: byteCount, sha256: try Samples.digest("a"),
                patches: patches.map { Content.Patch(offset: $0.0, bytes: [UInt8](repeating: 1, count: $0.1)) })
        }
        for good in [[], [(0, 1)], [(0, 4096), (4096, 4096)], [(9999, 1)], [(0, 1), (1, 1), (5000, 5000 - 904)]]
            as [[(UInt64, Int)]]
        {
            #expect(throws: Never.self) { try content(good).validate() }
        }
        let bad: [[(UInt64, Int)]] = [
            [(0, 0)], [(0, 4097)], [(9999, 2)], [(10_000, 1)], [(.max, 1)], [(.max - 1, 4)], [(5, 2), (6, 1)],
            [(5, 1), (4, 1)],
        ]
        for patches in bad {
            let error = #expect(throws: StationError.self) { try content(patches).validate() }
            #expect(error?.code == "content_invalid")
        }
        for byteCount: UInt64 in [0, 1 << 44 + 1, .max] {
            #expect(throws: StationError.self) { try content([], byteCount: byteCount).validate() }
        }
        #expect(throws: StationError.self) { try content([(0, 11)], byteCount: 10).validate() }
    }

    @Test("What station and writer say to each other arrives as it was said")
    func protocolCoding() throws {
        var report = JobReport(.failed(.dataMismatch), detail: "“x”")
        report.firstBadOffset = .max
        report.readBackSHA256 = try Samples.digest("b")
        let messages: [WriterMessage] = [
            .held, .progress(JobProgress(phase: .verifying, bytesDone: .max)), .readRate(41_943_040.25), .ended(report),
        ]
        for message in messages {
            #expect(try JSONDecoder().decode(WriterMessage.self, from: JSONEncoder().encode(message)) == message)
        }
        for condition: JobRequest.Condition in [
            .none, .unlessHead(try Samples.digest("c")), .onlyIfMarked([JobID(), JobID()]),
        ] {
            let request = JobRequest(
                jobID: JobID(), disk: "sda", deviceSequence: .max,
                content: Content(
                    byteCount: 5, sha256: try Samples.digest("a"), patches: [.init(offset: 1, bytes: [0, 255])]),
                condition: condition, isDryRun: true, mayUpdate: true)
            #expect(try JSONDecoder().decode(JobRequest.self, from: JSONEncoder().encode(request)) == request)
        }
        let command = try JSONEncoder().encode([WriterCommand.cancel])
        #expect(try JSONDecoder().decode([WriterCommand].self, from: command) == [.cancel])
    }
}

@Suite("What a writer is asked for")
struct JobRequestTests {
    @Test(
        "is an update only of a card that has just been put in",
        arguments: [
            JobTrigger.insertion, .flash, .resumed, .atBoot,
        ])
    func mayUpdate(trigger: JobTrigger) throws {
        let start = JobStart(
            id: JobID(), slot: try SlotName("slot1"), token: InsertionToken(bootID: "b", deviceSequence: 1),
            device: Samples.card(), assignment: try Samples.assignment(), condition: .none, isDryRun: false,
            trigger: trigger, callerUserID: nil)
        #expect(start.request.mayUpdate == (trigger == .insertion))
    }
}

@Suite("A partition table")
struct PartitionTableTests {
    @Test("is read from an MBR")
    func mbr() throws {
        let table = try #require(
            PartitionTable(TableBytes.mbr([.init(first: 2048, count: 100), .init(first: 4096, count: 8192)])))
        #expect(table.kind == .mbr)
        let wanted: [Range<UInt64>] = [1_048_576..<1_099_776, 2_097_152..<6_291_456]
        #expect(table.partitions == wanted)
        #expect(table.end == 12288 * 512)
    }

    @Test("is read from a GPT, at its sector size", arguments: [512, 4096])
    func gpt(sectorByteCount: Int) throws {
        let bytes = TableBytes.gpt(
            [.init(first: 40, count: 2), .init(first: 100, count: 1000)], sectorByteCount: sectorByteCount)
        let table = try #require(PartitionTable(bytes, sectorByteCount: sectorByteCount))
        let sector = UInt64(sectorByteCount)
        let wanted: [Range<UInt64>] = [40 * sector..<42 * sector, 100 * sector..<1100 * sector]
        #expect(table.kind == .gpt)
        #expect(table.partitions == wanted)
    }

    @Test("is none without its signature or a whole sector")
    func none() {
        #expect(PartitionTable([]) == nil)
        #expect(PartitionTable([UInt8](repeating: 0, count: 4096)) == nil)
        #expect(PartitionTable(Array(TableBytes.mbr([]).dropLast())) == nil)
        #expect(PartitionTable(TableBytes.mbr([]))?.end == 0)
    }

    @Test(
        "believes no offset", arguments: [0, 1, 0xFFFF_FFFF, 1 << 47, 1 << 55, 1 << 62, UInt64.max - 1, .max],
        [0, 1, 0xFFFF_FFFF, 1 << 62, .max])
    func extremes(first: UInt64, count: UInt64) {
        for bytes in [
            TableBytes.mbr([.init(first: first, count: count)]), TableBytes.gpt([.init(first: first, count: count)]),
        ] {
            let table = PartitionTable(bytes)
            #expect(table != nil)
            #expect((table?.end ?? 0) <= 1 << 56)
        }
    }

    @Test("is read from changed and random bytes without harm", arguments: 0..<30)
    func garbage(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        for round in 0..<100 {
            var bytes = round % 3 == 0 ? random.bytes(2048) : TableBytes.gpt([.init(first: 40, count: 200)])
            for _ in 0..<Int.random(in: 0...20, using: &random) {
                let place =
                    round % 2 == 0
                    ? Int.random(in: 512..<700, using: &random) : Int.random(in: 0..<bytes.count, using: &random)
                bytes[place] = UInt8.random(in: 0...255, using: &random)
            }
            (bytes[510], bytes[511]) = (0x55, 0xAA)
            if round % 5 == 0 { bytes.removeLast(Int.random(in: 0...bytes.count - 512, using: &random)) }
            for sectorByteCount in [512, 4096] {
                guard let table = PartitionTable(bytes, sectorByteCount: sectorByteCount) else { continue }
                #expect(table.partitions.allSatisfy { $0.upperBound <= 1 << 56 && !$0.isEmpty }, "seed \(seed)")
            }
        }
    }
}
