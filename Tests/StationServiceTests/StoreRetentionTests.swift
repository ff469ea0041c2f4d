import StationCore
import Testing

@testable import StationService

@Suite("forgetting old jobs")
struct StoreRetentionTests {
    private static let day = 86_400.0
    /// Day 1000, by a clock that was set.
    private static let now = 1000 * day

    /// One job for each day, from day 1 on, in slots by turns; all passed.
    private static func filled(_ bench: StoreBench, _ slots: [String], jobs: Int) async throws -> Store {
        let store = try bench.open(at: now)
        for number in 1...jobs {
            try await store.finish(
                try StoreBench.start(slots[number % slots.count]), .passed, at: Double(number) * day)
        }
        return store
    }

    private static func days(_ store: Store) async throws -> [Int] {
        try await store.history(Control.HistoryQuery(limit: 10_000)).map { Int($0.startedAt / day) }.reversed()
    }

    @Test("takes those that are too old and leaves each slot what its statistics look at")
    func old() async throws {
        let bench = try StoreBench()
        let store = try await Self.filled(bench, ["slot1"], jobs: 500)
        #expect(try await store.forgetJobs(olderThan: 900) == 99)
        #expect(try await Self.days(store) == Array(100...500))
        // Of those the newest 200 are looked at.
        #expect(try await store.forgetJobs(olderThan: 10) == 201)
        #expect(try await Self.days(store) == Array(301...500))
        #expect(try await store.forgetJobs(olderThan: 10) == 0)
        #expect(try await store.statistics(of: [try SlotName("slot1")]).first?.jobCount == 200)
    }

    @Test("leaves what statistics look at, behind however many jobs that do not count")
    func counted() async throws {
        let bench = try StoreBench()
        let store = try bench.open(at: Self.now)
        for number in 1...210 { try await store.finish(try StoreBench.start(), .passed, at: Double(number)) }
        for number in 211...500 {
            try await store.finish(try StoreBench.start(), .refused(.cardTooSmall), at: Double(number))
        }
        let slot = try SlotName("slot1")
        let before = try await store.statistics(of: [slot])
        // Of the passed ones the oldest ten, of the refused ones all but the newest 200.
        #expect(try await store.forgetJobs(olderThan: 1) == 10 + 90)
        #expect(try await store.statistics(of: [slot]) == before)
    }

    @Test("goes through all slots, in more than one batch")
    func batches() async throws {
        let bench = try StoreBench()
        let store = try bench.open(at: Self.now)
        for number in 1...4600 {
            try await store.finish(
                try StoreBench.start(number % 2 == 0 ? "slot1" : "slot2"), .passed, at: Double(number))
        }
        #expect(try await store.forgetJobs(olderThan: 900) == 4200)
        #expect(try await store.history(Control.HistoryQuery(limit: 10_000)).count == 400)
    }

    @Test("leaves everything where nobody wants it, and where the clock may be wrong")
    func unwanted() async throws {
        let bench = try StoreBench()
        var store: Store? = try await Self.filled(bench, ["slot1"], jobs: 300)
        #expect(try await store?.forgetJobs(olderThan: 0) == 0)
        store = nil
        try bench.waitUntilClosed()
        let other = try Store(path: bench.path, bootID: "boot2") {
            WallTime(seconds: 100_000 * Self.day, isSynchronised: false)
        }
        #expect(try await other.forgetJobs(olderThan: 1) == 0)
        #expect(try await Self.days(other).count == 300)
    }

    @Test("does not go by dates of a clock that was not set, but for what stands before a date that counts")
    func unsetClock() async throws {
        let bench = try StoreBench()
        let store = try bench.open(at: Self.now)
        // Long ago by its clock, and younger than all others by its place.
        let late = try StoreBench.start("slot2")
        for number in 1...300 {
            let start = try StoreBench.start("slot1")
            try await store.beginJob(start, startedAt: Double(number) * Self.day, isClockSynchronised: number != 50)
            try await store.endJob(start.id, JobReport(.passed))
        }
        try await store.beginJob(late, startedAt: 1, isClockSynchronised: false)
        try await store.endJob(late.id, JobReport(.passed))
        #expect(try await store.forgetJobs(olderThan: 900) == 99)
        #expect(try await store.job(late.id) != nil)
    }

    @Test("keeps jobs that failed on a card which is known by them, and jobs that have no verdict")
    func cards() async throws {
        let bench = try StoreBench()
        let store = try bench.open(at: Self.now)
        let (failed, open) = (try StoreBench.start("slot1"), try StoreBench.start("slot1"))
        try await store.finish(failed, .failed(.writeError), at: Self.day)
        #expect(try await store.job(failed.id)?.card != nil)
        try await store.beginJob(open, startedAt: Self.day, isClockSynchronised: true)
        for number in 1...300 {
            try await store.finish(try StoreBench.start("slot1"), .passed, at: Double(number) * Self.day)
        }
        #expect(try await store.forgetJobs(olderThan: 1) == 100)
        #expect(try await store.job(failed.id) != nil)
        #expect(try await store.job(open.id) != nil)
        #expect(try await store.recall(CardTraits(cardID: nil, marker: failed.id)) != nil)
    }
}
