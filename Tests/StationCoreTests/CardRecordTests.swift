import StationCore
import StationTestSupport
import Testing

@Suite("A card that is remembered")
struct CardRecordTests {
    private static func card() -> CardRecord {
        CardRecord(card: CardKey(firstFailure: JobID()), identity: .cid, byteCount: 8, model: "", at: 0)
    }

    /// A letter each: `f`ailed, `p`assed, for`g`iven.
    private static func card(after life: String) throws -> CardRecord {
        var card = card()
        for event in life {
            switch event {
            case "f":
                card.failed(
                    CardRecord.Failure(
                        job: JobID(), slot: try SlotName("slot2"), reason: .dataMismatch, at: 1_772_539_200,
                        wasClockSynchronised: true))
            case "p": card.passed()
            default: card.forgive()
            }
        }
        return card
    }

    @Test(
        "is what its life made of it",
        arguments: [
            ("", CardState.good, 0), ("ppp", .good, 0), ("f", .suspect, 1), ("ff", .suspect, 2), ("fff", .condemned, 3),
            ("ffff", .condemned, 4), ("fp", .recovered, 0), ("ffpf", .suspect, 1), ("ffpff", .suspect, 2),
            ("fffg", .forgiven, 0), ("fffgff", .suspect, 2), ("fffgfff", .condemned, 3), ("fffgp", .recovered, 0),
            ("g", .good, 0), ("fpg", .recovered, 0), ("fg", .forgiven, 0),
        ])
    func states(life: String, state: CardState, inARow: Int) throws {
        let card = try Self.card(after: life)
        #expect(card.state == state && card.failuresInARow == inARow)
        #expect(card.failedCount == life.count { $0 == "f" } && card.passedCount == life.count { $0 == "p" })
        #expect(card.isSuspect == (inARow > 0))
        #expect((card.reproach == nil) == (inARow == 0))
    }

    @Test("is reproached with its last failure, and with no day where the clock was not set")
    func reproach() throws {
        var card = try Self.card(after: "f")
        #expect(card.reproach == "this card failed here on 3 March 2026 in slot2: data_mismatch (failure 1 of 3)")
        card.failed(
            CardRecord.Failure(
                job: JobID(), slot: try SlotName("slot3"), reason: .writeError, at: 5, wasClockSynchronised: false))
        #expect(card.reproach == "this card failed here before in slot3: write_error (failure 2 of 3)")
        #expect(try Self.card(after: "fff").remedy.contains("stationctl card forgive"))
    }

    @Test(
        "keys are 32 lower-case hexadecimal digits, and nothing that a card says of itself",
        arguments: ["", "0A", String(repeating: "A", count: 32), String(repeating: "0", count: 33), "\u{1B}[31m"])
    func keys(text: String) {
        #expect(CardKey(text) == nil)
        #expect(!CardTraits(cardID: text).isKnowable)
        #expect(throws: StationError.self) { _ = try CardKey(coded: text) }
    }

    @Test(
        "days are those of the calendar",
        arguments: [
            (0.0, "1 January 1970"), (-1, "31 December 1969"), (951_782_400, "29 February 2000"),
            (951_868_800, "1 March 2000"), (1_772_582_399, "3 March 2026"), (1_772_582_400, "4 March 2026"),
            (4_107_542_400, "1 March 2100"), (-62_135_596_800, "1 January 1"),
        ])
    func days(seconds: Double, text: String) {
        #expect(CalendarDay(secondsSince1970: seconds).map { "\($0)" } == text)
    }

    @Test("a time that no clock shows is no day", arguments: [Double.nan, .infinity, 1e12])
    func noDay(seconds: Double) { #expect(CalendarDay(secondsSince1970: seconds) == nil) }
}

@Suite("What a card is found to be")
struct CardInspectionTests {
    private static func writing(_ digit: Character, _ count: Int = 1) throws -> CardInspection.Writing {
        var assignment = try Samples.assignment(digit: digit)
        assignment.byteCount = 1000
        let start = JobStart(
            id: JobID(), slot: try SlotName("slot1"), token: InsertionToken(bootID: "b", deviceSequence: 1),
            device: Samples.card(), assignment: assignment, condition: .none, isDryRun: false, trigger: .insertion,
            callerUserID: nil)
        return CardInspection.Writing(
            job: JobRecord(sequence: 1, start: start, startedAt: 1, wasClockSynchronised: true), jobCount: count)
    }

    private static func comparison(
        _ digit: Character, reads: Character, differing: UInt64? = nil
    ) throws -> CardContents.Comparison {
        var comparison = CardContents.Comparison(
            sha256: try Samples.digest(digit), byteCount: 1000, readSHA256: try Samples.digest(reads))
        comparison.firstDifferentOffset = differing.map { _ in 7 }
        comparison.differentByteCount = differing
        return comparison
    }

    private static func inspect(
        _ comparisons: [CardContents.Comparison], _ writings: [CardInspection.Writing],
        marker: Bool = false, failure: Reason? = nil, markedBy: JobRecord? = nil
    ) throws -> CardInspection {
        var contents = CardContents(cardByteCount: 2000, sectorByteCount: 512)
        contents.comparisons = comparisons
        if marker { contents.marker = CardContents.Mark(job: JobID(), state: "failed", reason: "write_error") }
        contents.failure = failure
        return CardInspection(
            slot: try SlotName("slot1"), contents: contents, writings: writings, markedBy: markedBy)
    }

    @Test("intact is only what has the SHA-256 that was written")
    func intact() throws {
        let writings = [try Self.writing("a", 5), try Self.writing("b")]
        let found = try Self.inspect(
            [Self.comparison("a", reads: "c", differing: 3), Self.comparison("b", reads: "b")], writings)
        #expect(found.origin == .intact && found.job == writings[1].job && found.jobCount == 1)
        #expect(found.comparison?.isEqual == true)
        let changed = try Self.inspect([Self.comparison("a", reads: "c", differing: 1)], writings)
        #expect(changed.origin == .changed && changed.jobCount == 5)
        #expect(changed.comparison?.differentByteCount == 1)
    }

    @Test("of several that are changed, the nearest is meant")
    func nearest() throws {
        let writings = [try Self.writing("a"), try Self.writing("b"), try Self.writing("c")]
        let found = try Self.inspect(
            [
                Self.comparison("a", reads: "f", differing: 30), Self.comparison("b", reads: "f", differing: 2),
                Self.comparison("c", reads: "f"),
            ], writings)
        #expect(found.origin == .changed && found.job == writings[1].job)
    }

    @Test("nothing found is not ours, a marker is unfinished, what cannot be read is never intact")
    func others() throws {
        #expect(try Self.inspect([], []).origin == .notOurs)
        // Longer than the card, and so not compared.
        #expect(try Self.inspect([], [Self.writing("a")]).origin == .notOurs)
        let job = try Self.writing("a").job
        let marked = try Self.inspect([], [], marker: true, markedBy: job)
        #expect(marked.origin == .unfinished && marked.job == job)
        let unreadable = try Self.inspect(
            [Self.comparison("a", reads: "a")], [Self.writing("a")], failure: .cardChanged)
        #expect(unreadable.origin == .unreadable)
    }
}
