import StationCore
import Testing

@testable import StationService

@Suite("jobs in the store")
struct StoreJobTests {
    @Test("a job is found again as it was told, from its beginning to its verdict")
    func roundTrip() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let start = try StoreBench.start(trigger: .flash, userID: 1001)
        let sequence = try await store.beginJob(start, startedAt: 900.5, isClockSynchronised: false, run: "run-1")
        let underWay = try await store.history(Control.HistoryQuery())
        #expect(
            underWay == [
                JobRecord(sequence: sequence, start: start, startedAt: 900.5, wasClockSynchronised: false, run: "run-1")
            ])
        var report = JobReport(.failed(.dataMismatch), detail: "at 4096")
        report.firstBadOffset = 4096
        try await store.endJob(start.id, report)
        let record = try #require(try await store.history(Control.HistoryQuery()).first)
        #expect(record.report == report && record.callerUserID == 1001 && record.trigger == .flash)
    }

    @Test("the first verdict stands, and an unknown job has none")
    func firstVerdict() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let start = try StoreBench.start()
        try await store.finish(start, .failed(.readError))
        #expect(await storeFailure { try await store.endJob(start.id, JobReport(.passed)) }?.code == "job_ended")
        #expect(await storeFailure { try await store.discardJob(start.id) }?.code == "job_ended")
        #expect(await storeFailure { try await store.endJob(JobID(), JobReport(.passed)) }?.code == "job_unknown")
        #expect(await storeFailure { try await store.discardJob(JobID()) }?.code == "job_unknown")
        #expect(try await store.history(Control.HistoryQuery()).map(\.report?.verdict) == [.failed(.readError)])
    }

    @Test("verdicts that a full disk refused are kept, shown, and on record in their order when there is room")
    func overdue() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let slot = try SlotName("slot1")
        let starts = try (0..<2).map { try StoreBench.start(sequence: UInt64($0)) }
        for start in starts { try await store.beginJob(start, startedAt: 1, isClockSynchronised: true) }
        let limit = try await store.perform { database in
            let pages = try database.query("PRAGMA page_count").first?.integer("page_count") ?? 0
            try database.execute("PRAGMA max_page_count = \(pages)")
            return pages
        }
        var report = JobReport(.passed, detail: String(repeating: "x", count: 20_000))
        report.bytesWritten = 4096
        #expect(
            await storeFailure { try await store.endJob(starts[0].id, report, failuresInARow: 0) }?.code
                == "storage_full")
        // What would fit does not overtake it: a slot's streak is that of its last job.
        let short = JobReport(.failed(.readError))
        #expect(
            await storeFailure { try await store.endJob(starts[1].id, short, failuresInARow: 1) }?.code
                == "storage_full")
        #expect(
            try await store.history(Control.HistoryQuery()).map(\.report?.verdict) == [.failed(.readError), .passed])
        #expect(try await store.history(Control.HistoryQuery(verdict: "passed")).map(\.id) == [starts[0].id])
        #expect(try await store.history(Control.HistoryQuery(verdict: "refused")).isEmpty)
        #expect(try bench.pullThePlug().open().interruptedJobs.count == 2, "nothing is on record yet")
        #expect(await storeFailure { try await store.perform { try store.writeOverdue($0) } }?.code == "storage_full")
        try await store.perform { try $0.execute("PRAGMA max_page_count = \(limit + 100)") }
        // By itself, sooner or later; here at once.
        try await store.perform { try store.writeOverdue($0) }
        let late = try bench.pullThePlug().open()
        #expect(late.interruptedJobs.count == 0)
        #expect(
            try await late.history(Control.HistoryQuery()).map(\.report?.verdict) == [.failed(.readError), .passed])
        #expect(try await late.memory(slot: slot).failuresInARow == 1)
        #expect(await storeFailure { try await store.endJob(starts[0].id, report) }?.code == "job_ended")
    }

    @Test("a verdict that the file refuses for good keeps no other from its record")
    func poisoned() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let starts = try (0..<2).map { try StoreBench.start(sequence: UInt64($0)) }
        for start in starts { try await store.beginJob(start, startedAt: 1, isClockSynchronised: true) }
        try await store.perform {
            try $0.execute(
                """
                CREATE TRIGGER poison BEFORE UPDATE ON jobs WHEN NEW.id = '\(starts[0].id)'
                    BEGIN SELECT RAISE(ABORT, 'no'); END
                """)
        }
        #expect(await storeFailure { try await store.endJob(starts[0].id, JobReport(.passed)) } != nil)
        try await store.endJob(starts[1].id, JobReport(.cancelled))
        #expect(try await store.perform { try $0.query("SELECT id FROM jobs WHERE verdict IS NULL").count } == 1)
        try await store.perform { try $0.execute("DROP TRIGGER poison") }
        try await store.perform { try store.writeOverdue($0) }
        #expect(try bench.pullThePlug().open().interruptedJobs.count == 0)
    }

    @Test("what the disk refused is written without being asked again", .timeLimit(.minutes(1)))
    func overdueByItself() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let start = try StoreBench.start()
        try await store.beginJob(start, startedAt: 1, isClockSynchronised: true)
        try await store.perform { try $0.execute("PRAGMA max_page_count = 1") }
        let report = JobReport(.passed, detail: String(repeating: "x", count: 20_000))
        #expect(await storeFailure { try await store.endJob(start.id, report) }?.code == "storage_full")
        try await store.perform { try $0.execute("PRAGMA max_page_count = 10000") }
        while try await store.perform({ try $0.query("SELECT 1 FROM jobs WHERE verdict IS NULL") }).isEmpty == false {
            try await Task.sleep(for: .milliseconds(50))
        }
        #expect(try await store.history(Control.HistoryQuery()).map(\.report?.verdict) == [.passed])
    }

    @Test("a job is begun once")
    func beginsOnce() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let start = try StoreBench.start()
        try await store.beginJob(start, startedAt: 1, isClockSynchronised: true)
        #expect(
            await storeFailure { _ = try await store.beginJob(start, startedAt: 2, isClockSynchronised: true) } != nil)
    }

    @Test("a discarded job leaves nothing, and its number is not given again")
    func discard() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let start = try StoreBench.start()
        let first = try await store.beginJob(start, startedAt: 1, isClockSynchronised: true)
        try await store.discardJob(start.id)
        #expect(try await store.history(Control.HistoryQuery()).isEmpty)
        let second = try await store.beginJob(StoreBench.start(), startedAt: 1, isClockSynchronised: true)
        #expect(second > first)
    }

    @Test("a slot remembers its last job whole, and its own alone")
    func memory() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let slot = try SlotName("slot1")
        #expect(try await store.memory(slot: slot).lastFinished == nil)
        try await store.finish(StoreBench.start(), .failed(.writeError))
        let last = try StoreBench.start(sequence: .max)
        let report = try await store.finish(last, .passed)
        try await store.finish(StoreBench.start("slot2"), .cancelled)
        try await store.beginJob(StoreBench.start(), startedAt: 1, isClockSynchronised: true)
        let memory = try await store.memory(slot: slot)
        #expect(memory.lastFinished == SlotMachine.Finished(start: last, report: report))
        #expect(memory.interruptedJobs.isEmpty)
    }

    @Test("a dry run changes nothing of what came of its card, and stands alone on a card that had no job")
    func dryRun() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let slot = try SlotName("slot1")
        let passed = try StoreBench.start(sequence: 7)
        try await store.finish(passed, .passed)
        var dryRun = try StoreBench.start(sequence: 7, trigger: .flash, userID: 0)
        dryRun.isDryRun = true
        try await store.finish(dryRun, .refused(.dryRun))
        #expect(try await store.memory(slot: slot).lastFinished?.start.id == passed.id)
        var other = try StoreBench.start(sequence: 8, trigger: .flash, userID: 0)
        other.isDryRun = true
        try await store.finish(other, .refused(.dryRun))
        #expect(try await store.memory(slot: slot).lastFinished?.start.id == other.id)
    }

    @Test("an interrupted job on a card that had passed is what the slot remembers")
    func interruptedIsLast() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.finish(StoreBench.start(), .passed)
        let flash = try StoreBench.start(trigger: .flash, userID: 0)
        try await store.finish(flash, .interrupted)
        let memory = try await store.memory(slot: SlotName("slot1"))
        #expect(memory.lastFinished?.start.id == flash.id)
        #expect(memory.lastFinished?.report.verdict == .interrupted)
        #expect(memory.interruptedJobs == [flash.id])
    }

    @Test("a slot remembers its 32 newest interrupted jobs")
    func manyInterrupted() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        var ids: [JobID] = []
        for index in 0..<40 {
            let start = try StoreBench.start(index % 8 == 0 ? "slot2" : "slot1")
            if start.slot.text == "slot1" { ids.append(start.id) }
            try await store.finish(start, .interrupted)
        }
        let remembered = try await store.memory(slot: SlotName("slot1")).interruptedJobs
        #expect(remembered == ids.reversed().prefix(32).map { $0 })
    }

    @Test(
        "a record that cannot be read is never a passed one",
        arguments: ["UPDATE jobs SET report = 'no JSON'", "UPDATE jobs SET report = '{}'"])
    func unreadable(statement: String) async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.finish(StoreBench.start(), .passed)
        #expect(try await store.history(Control.HistoryQuery()).first?.report?.verdict == .passed)
        try await store.perform { try $0.execute(statement) }
        let record = try #require(try await store.history(Control.HistoryQuery()).first)
        #expect(record.report?.verdict == .failed(.internalError))
        #expect(record.report?.detail.contains("passed") == true)
    }

    @Test("a verdict changed behind the station's back is not believed")
    func disagreement() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.finish(StoreBench.start(), .failed(.hashMismatch))
        try await store.perform { try $0.execute("UPDATE jobs SET verdict = 'passed', reason = NULL") }
        #expect(try await store.history(Control.HistoryQuery()).first?.report?.verdict == .failed(.internalError))
    }

    @Test("the file itself refuses a verdict without a report and a reason where none belongs")
    func constraints() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.beginJob(StoreBench.start(), startedAt: 1, isClockSynchronised: true)
        for change in [
            "verdict = 'passed'", "verdict = 'perfect', report = '{}'", "verdict = 'failed', report = '{}'",
            "verdict = 'passed', reason = 'read_error', report = '{}'", "device_sequence = 'seven'",
        ] {
            #expect(
                await storeFailure { try await store.perform { try $0.execute("UPDATE jobs SET \(change)") } } != nil,
                "\(change)")
        }
    }
}
