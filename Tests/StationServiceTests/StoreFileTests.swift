import Glibc
import StationCore
import StationLinux
import Testing

@testable import StationService

@Suite("the store's file")
struct StoreFileTests {
    @Test("a new store is empty, without problems, and opens again as it was")
    func reopens() async throws {
        let bench = try StoreBench()
        let slot = try SlotName("slot1")
        do {
            let store = try bench.open()
            #expect(store.problems.isEmpty && store.interruptedJobs.count == 0)
            for name in bench.names { #expect(try FileStatus(of: "\(bench.directory)/\(name)").mode & 0o027 == 0) }
            #expect(try await store.history(Control.HistoryQuery()).isEmpty)
            try await store.saveConsent(
                slot: slot, isArmed: true, assignment: StoreBench.assignment(), change: .assign, callerUserID: 1000)
        }
        let again = try bench.open(bootID: "boot2")
        #expect(again.problems.isEmpty)
        #expect(try await again.consent() == [slot: SlotConsent(isArmed: true, assignment: StoreBench.assignment())])
    }

    @Test("a job that was begun when the power failed is interrupted, never passed, and known at once")
    func powerCut() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let (ended, running) = (try StoreBench.start(), try StoreBench.start("slot2", sequence: 8))
        try await store.finish(ended, .passed)
        let before = try bench.pullThePlug()
        let sequence = try await store.beginJob(running, startedAt: 1001, isClockSynchronised: false)
        let after = try bench.pullThePlug()

        let early = try before.open()
        #expect(early.interruptedJobs.isEmpty)
        #expect(try await early.history(Control.HistoryQuery()).map(\.report?.verdict) == [.passed])

        let late = try after.open()
        #expect(late.interruptedJobs.map(\.id) == [running.id] && late.interruptedJobs.map(\.sequence) == [sequence])
        let history = try await late.history(Control.HistoryQuery())
        #expect(history.map(\.id) == [running.id, ended.id])
        #expect(history.map(\.report?.verdict) == [.interrupted, .passed])
        #expect(history[0].report?.detail.isEmpty == false && history[0].wasClockSynchronised == false)
        #expect(try await late.memory(slot: running.slot).interruptedJobs == [running.id])
        // Its late verdict comes too late: nobody read that card back to the end.
        #expect(await storeFailure { try await late.endJob(running.id, JobReport(.passed)) }?.code == "job_ended")
    }

    @Test("after an orderly end the file is whole without its log")
    func settled() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.finish(StoreBench.start(), .passed)
        let (before, after) = (try StoreBench(), try StoreBench())
        try before.write(bench.bytes("station.db"), to: "station.db")
        await store.settle()
        try after.write(bench.bytes("station.db"), to: "station.db")
        #expect(try await before.open().history(Control.HistoryQuery()).isEmpty, "else this shows nothing")
        #expect(try await after.open().history(Control.HistoryQuery()).map(\.report?.verdict) == [.passed])
    }

    @Test("what was not committed when the power failed never was")
    func halfTransaction() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let copy = try await store.perform { database -> StoreBench in
            try database.execute("BEGIN; INSERT INTO slot_consent (slot, is_armed) VALUES ('slot1', 0)")
            defer { try? database.execute("COMMIT") }
            return try bench.pullThePlug()
        }
        #expect(try await copy.open().consent().isEmpty)
        #expect(try await store.consent().count == 1)
    }

    @Test("a change and its audit row are written both or not at all")
    func atomic() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.perform { try $0.execute("DROP TABLE changes") }
        let error = await storeFailure {
            try await store.saveConsent(
                slot: SlotName("slot1"), isArmed: true, assignment: StoreBench.assignment(), change: .assign,
                callerUserID: 1000)
        }
        #expect(error?.code == "store_unusable")
        #expect(try await store.consent().isEmpty)
    }

    @Test("a file that is no database is kept beside a fresh one, and said so")
    func garbage() async throws {
        let bench = try StoreBench()
        let garbage = (0..<50_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 / 251) }
        try bench.write(garbage, to: "station.db")
        try bench.write([1, 2, 3], to: "station.db-wal")
        let store = try bench.open(at: 1_769_903_999)
        #expect(store.problems.map(\.code) == ["store_was_corrupt"])
        #expect(store.problems[0].message.contains("station.db.broken-20260131T235959Z"))
        #expect(try bench.bytes("station.db.broken-20260131T235959Z") == garbage)
        #expect(try bench.bytes("station.db.broken-20260131T235959Z-wal") == [1, 2, 3], "its log is kept with it")
        try await store.finish(StoreBench.start(), .passed)
        #expect(try await store.history(Control.HistoryQuery()).count == 1)
    }

    @Test("damage is found where nothing needs to be read to start")
    func hiddenDamage() async throws {
        let bench = try StoreBench()
        do {
            let store = try bench.open()
            for _ in 0..<40 { try await store.finish(StoreBench.start(), .passed) }
        }
        try bench.waitUntilClosed()
        var bytes = try bench.bytes("station.db")
        // A leaf of the table of jobs is found by what its rows hold: from its page, the first byte says what it is.
        let mark = Array("\"detail\":\"as told\"".utf8)
        let found = try #require(bytes.indices.first { bytes[$0...].starts(with: mark) })
        let page = found / 4096 * 4096
        #expect(bytes[page] == 13, "a table's leaf")
        bytes[page + 5] = 0xFF
        try bench.write(bytes, to: "station.db")
        #expect(try bench.open().problems.map(\.code) == ["store_was_corrupt"])
    }

    @Test("of a long history all is looked at but what grows with every card")
    func hiddenDamageOfLongHistory() async throws {
        let bench = try StoreBench()
        let roots: [String: Int64]
        do {
            let store = try bench.open()
            try await store.finish(StoreBench.start(), .passed)
            roots = try await store.perform { database in
                let tables = try database.query(
                    "SELECT name, rootpage FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
                return Dictionary(
                    uniqueKeysWithValues: try tables.map { (try $0.text("name"), try $0.integer("rootpage")) })
            }
        }
        #expect(roots.keys.contains("slot_consent") && roots.keys.contains("failure_streaks"))
        try bench.waitUntilClosed()
        let sound = try bench.bytes("station.db")
        for (table, root) in roots where !["jobs", "changes"].contains(table) {
            var bytes = sound
            // Where its cells begin, which nothing asks while the table is empty.
            bytes[(Int(root) - 1) * 4096 + 5] = 0xFF
            try bench.waitUntilClosed()
            try bench.write(bytes, to: "station.db")
            let store = try Store(
                path: bench.path, bootID: "boot1", clock: { WallTime(seconds: 1000, isSynchronised: true) },
                steps: StoreSchema.migrations, wholeCheckLimit: 0)
            #expect(store.problems.map(\.code) == ["store_was_corrupt"], "\(table)")
        }
    }

    @Test("a damaged database is moved aside, a second one of the same second too")
    func damaged() async throws {
        let bench = try StoreBench()
        do {
            let store = try bench.open()
            for _ in 0..<40 { try await store.finish(StoreBench.start(), .passed) }
        }
        try bench.waitUntilClosed()
        let sound = try bench.bytes("station.db")
        #expect(try bench.open().problems.isEmpty, "a sound file is left alone")
        var broken = sound
        for offset in 4096..<broken.count where offset % 4096 < 64 { broken[offset] = 0xFF }
        for attempt in 1...2 {
            try bench.waitUntilClosed()
            try bench.write(broken, to: "station.db")
            let store = try bench.open(at: 0)
            #expect(store.problems.map(\.code) == ["store_was_corrupt"])
            #expect(try await store.history(Control.HistoryQuery()).isEmpty)
            let kept = "station.db.broken-19700101T000000Z" + (attempt == 1 ? "" : "-2")
            #expect(try bench.bytes(kept) == broken)
        }
    }

    @Test("another program's database is refused and not touched")
    func foreign() async throws {
        let bench = try StoreBench()
        do {
            let other = try StoreDatabase(path: bench.path)
            try other.execute("CREATE TABLE accounts (name TEXT)")
        }
        let before = try bench.bytes("station.db")
        let error = await storeFailure { _ = try bench.open() }
        #expect(error?.code == "store_foreign")
        #expect(try bench.bytes("station.db") == before)
        #expect(bench.names == ["station.db"])
    }

    @Test("a newer station's database is refused and not touched; the same steps are not")
    func future() async throws {
        let bench = try StoreBench()
        let count = Int64(StoreSchema.migrations.count)
        let next = StoreMigration(
            number: count + 1, name: "later", statements: "CREATE TABLE later (key INTEGER) STRICT")
        let clock: @Sendable () -> WallTime = { WallTime(seconds: 1, isSynchronised: true) }
        do {
            let old = try bench.open()
            try await old.finish(StoreBench.start(), .passed)
        }
        do {
            let steps = StoreSchema.migrations + [next]
            let new = try Store(path: bench.path, bootID: "b", clock: clock, steps: steps)
            #expect(try await new.history(Control.HistoryQuery()).count == 1)
            let names = try await new.perform {
                try $0.query("SELECT name FROM migrations ORDER BY number").map { $0.optionalText("name") }
            }
            #expect(names == StoreSchema.migrations.map(\.name) + ["later"])
        }
        try bench.waitUntilClosed()
        let before = try bench.bytes("station.db")
        let error = await storeFailure { _ = try bench.open() }
        #expect(error?.code == "store_from_future")
        #expect(error?.message.contains("\(count + 1) later") == true)
        #expect(try bench.bytes("station.db") == before)

        var renamed = StoreSchema.migrations
        renamed[0].name = "other"
        let other = await storeFailure {
            _ = try Store(path: bench.path, bootID: "b", clock: clock, steps: renamed + [next])
        }
        #expect(other?.code == "store_from_future")
    }

    @Test("a step that fails leaves the form as it was")
    func failedStep() async throws {
        let bench = try StoreBench()
        _ = try bench.open()
        let bad = StoreMigration(
            number: Int64(StoreSchema.migrations.count) + 1, name: "bad",
            statements: "CREATE TABLE half (x TEXT) STRICT; NONSENSE")
        let error = await storeFailure {
            _ = try Store(path: bench.path, bootID: "b", clock: WallTime.now, steps: StoreSchema.migrations + [bad])
        }
        #expect(error?.code == "store_unusable")
        let store = try bench.open()
        let tables = try await store.perform { try $0.query("SELECT 1 FROM sqlite_schema WHERE name = 'half'").count }
        #expect(tables == 0)
    }

    @Test("two stations never have the same store")
    func twoStations() async throws {
        let bench = try StoreBench()
        do {
            let first = try bench.open()
            let error = await storeFailure { _ = try bench.open() }
            #expect(error?.code == "store_in_use")
            #expect(first.problems.isEmpty)
        }
        _ = try bench.open()
    }

    @Test("a directory that is not there is an error, not a crash")
    func noDirectory() async throws {
        let error = await storeFailure {
            _ = try Store(path: "/nonexistent/place/station.db", bootID: "b")
        }
        #expect(error?.code == "store_unusable")
    }

    @Test("a full disk is told from a broken one, and nothing half-written stays")
    func fullDisk() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.finish(StoreBench.start(), .passed)
        try await store.perform { database in
            let pages = try database.query("PRAGMA page_count").first?.integer("page_count") ?? 0
            _ = try database.query("PRAGMA max_page_count = \(pages)")
        }
        var last: String?
        for _ in 0..<200 where last == nil {
            last = await storeFailure { try await store.finish(StoreBench.start(), .passed) }?.code
        }
        #expect(last == "storage_full")
        #expect(
            try await store.history(Control.HistoryQuery()).allSatisfy {
                $0.report == nil || $0.report?.verdict == .passed
            })
    }
}
