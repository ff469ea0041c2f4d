import StationCore
import Testing

@testable import StationService

@Suite("history in the store")
struct StoreHistoryTests {
    /// One expectation: a query, and the numbers of the jobs it finds.
    struct Case: Sendable, CustomTestStringConvertible {
        var query: Control.HistoryQuery
        var found: [Int64]
        var testDescription: String { "\(query) finds \(found)" }

        init(_ query: Control.HistoryQuery, _ found: [Int64]) {
            self.query = query
            self.found = found
        }
    }

    static let ids = ["aaaa", "aabb", "ab00", "ffff", "0000"].map { $0 + String(repeating: "1", count: 28) }

    private func filled(_ bench: StoreBench) async throws -> Store {
        let store = try bench.open()
        let jobs: [(slot: String, verdict: Verdict?, at: Double)] = [
            ("left-1", .passed, 100), ("left-2", .failed(.readError), 300), ("slot1", .passed, 200),
            ("slot10", .refused(.cardTooSmall), 400), ("slot1", nil, 500),
        ]
        for (job, text) in zip(jobs, Self.ids) {
            let start = try StoreBench.start(job.slot, id: try #require(JobID(text)))
            if let verdict = job.verdict {
                try await store.finish(start, verdict, at: job.at)
            } else {
                try await store.beginJob(start, startedAt: job.at, isClockSynchronised: true)
            }
        }
        return store
    }

    @Test(
        "a query finds what it names, newest first",
        arguments: [
            Case(Control.HistoryQuery(), [5, 4, 3, 2, 1]),
            Case(Control.HistoryQuery(slot: "slot1"), [5, 3]),
            Case(Control.HistoryQuery(slot: "slot1*"), [5, 4, 3]),
            Case(Control.HistoryQuery(slot: "left-?"), [2, 1]),
            Case(Control.HistoryQuery(slot: "*"), [5, 4, 3, 2, 1]),
            Case(Control.HistoryQuery(slot: "slot[1]*"), []),
            Case(Control.HistoryQuery(slot: "nothing"), []),
            Case(Control.HistoryQuery(slot: "' OR 1 --"), []),
            Case(Control.HistoryQuery(job: "a"), [3, 2, 1]),
            Case(Control.HistoryQuery(job: "aa"), [2, 1]),
            Case(Control.HistoryQuery(job: "f"), [4]),
            Case(Control.HistoryQuery(job: Self.ids[4]), [5]),
            Case(Control.HistoryQuery(job: ""), [5, 4, 3, 2, 1]),
            Case(Control.HistoryQuery(verdict: "passed"), [3, 1]),
            Case(Control.HistoryQuery(verdict: "cancelled"), []),
            Case(Control.HistoryQuery(since: 300), [5, 4, 2]),
            Case(Control.HistoryQuery(since: 300.5), [5, 4]),
            Case(Control.HistoryQuery(until: 300), [3, 1]), Case(Control.HistoryQuery(until: 300.5), [3, 2, 1]),
            Case(Control.HistoryQuery(since: 200, until: 400), [3, 2]), Case(Control.HistoryQuery(until: 100), []),
            Case(Control.HistoryQuery(limit: 2), [5, 4]),
            Case(Control.HistoryQuery(limit: 0), []),
            Case(Control.HistoryQuery(limit: -3), []),
            Case(Control.HistoryQuery(limit: .max), [5, 4, 3, 2, 1]),
            Case(Control.HistoryQuery(slot: "slot1", verdict: "passed"), [3]),
            Case(Control.HistoryQuery(slot: "left-*", job: "aa", verdict: "passed", since: 50, limit: 5), [1]),
        ])
    func filters(expectation: Case) async throws {
        let bench = try StoreBench()
        let store = try await filled(bench)
        #expect(try await store.history(expectation.query).map(\.sequence) == expectation.found)
    }

    @Test(
        "a query for an image finds its jobs",
        arguments: [
            Case(Control.HistoryQuery(image: "openwrt-23.05"), [3, 1]),
            Case(Control.HistoryQuery(image: "openwrt-*"), [4, 3, 1]), Case(Control.HistoryQuery(image: "openwrt"), []),
            Case(Control.HistoryQuery(image: "resc?e"), [2]), Case(Control.HistoryQuery(image: "[o]*"), []),
            Case(Control.HistoryQuery(image: "' OR 1 --"), []),
            Case(Control.HistoryQuery(slot: "slot1", image: "openwrt*", limit: 1), [4]),
        ])
    func image(expectation: Case) async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        for image in ["openwrt-23.05", "rescue", "openwrt-23.05", "openwrt-24.10"] {
            var start = try StoreBench.start()
            start.assignment.image = try ImageName(image)
            try await store.beginJob(start, startedAt: 1, isClockSynchronised: true)
        }
        #expect(try await store.history(expectation.query).map(\.sequence) == expectation.found)
    }

    @Test("fifty jobs are shown when nobody says how many")
    func defaultLimit() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        for _ in 0..<51 { try await store.beginJob(StoreBench.start(), startedAt: 1, isClockSynchronised: true) }
        #expect(try await store.history(Control.HistoryQuery()).map(\.sequence) == (2...51).reversed())
    }

    @Test("a query that nothing can match is told so")
    func badQueries() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let said = await storeFailure { _ = try await store.history(Control.HistoryQuery(verdict: "pased")) }
        #expect(said?.code == "verdict_unknown" && said?.remedy.contains("passed") == true)
        #expect(
            await storeFailure { _ = try await store.history(Control.HistoryQuery(job: "XYZ")) }?.code
                == "job_id_invalid")
    }

    @Test(
        "a query walks an index that holds all it filters by, and sorts nothing",
        arguments: [
            Control.HistoryQuery(), Control.HistoryQuery(slot: "slot1"), Control.HistoryQuery(slot: "s*"),
            Control.HistoryQuery(verdict: "failed"), Control.HistoryQuery(since: 3),
            Control.HistoryQuery(slot: "slot1", verdict: "failed", since: 3), Control.HistoryQuery(image: "router"),
            Control.HistoryQuery(image: "r*"), Control.HistoryQuery(slot: "slot1", image: "router"),
            Control.HistoryQuery(slot: "s*", verdict: "passed", image: "router"),
        ])
    func plans(query: Control.HistoryQuery) async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let statement = try HistoryStatement(query)
        let plan = try await Self.plan(statement.text, statement.parameters, in: store)
        #expect(plan.contains("USING COVERING INDEX jobs_"), "\(plan)")
        #expect(!plan.contains("TEMP B-TREE"), "\(plan)")
        if let images = HistoryStatement.imagesNamed(query.image) {
            // Each step is a search; only the few names are scanned.
            let steps = try await Self.plan(images.text, images.parameters, in: store)
            #expect(steps.contains("SEARCH jobs USING COVERING INDEX jobs_of_image (image>?)"), "\(steps)")
            #expect(!steps.contains("SCAN jobs"), "\(steps)")
        }
        // The same without the indexes that were made for it shows that this test can fail.
        let naive = try await Self.plan(
            "SELECT * FROM jobs WHERE verdict = ? ORDER BY started_at DESC", [.text("failed")], in: store)
        #expect(!naive.contains("COVERING INDEX") && naive.contains("TEMP B-TREE"), "\(naive)")
    }

    private static func plan(_ text: String, _ parameters: [StoreValue], in store: Store) async throws -> String {
        try await store.perform { database in
            try database.query("EXPLAIN QUERY PLAN " + text, parameters).compactMap { $0.optionalText("detail") }
                .joined(separator: "\n")
        }
    }
}
