import StationCore
import Testing

@testable import StationService

@Suite("What a store knows of images without a record")
struct StoreLeftoversTests {
    @Test("what came while something was sealed and has no record is left over, after a death too")
    func death() async throws {
        let bench = try StoreBench()
        let (old, recorded, lost) = (
            try StoreBench.digest("a"), try StoreBench.image("router", "b"), try StoreBench.digest("c")
        )
        let early = try bench.open()
        _ = try await early.beginSealing(among: [old])
        _ = try await early.beginSealing(among: [old])
        try await early.addImage(recorded, replaces: false)

        let late = try bench.pullThePlug()
        let store = try late.open(bootID: "boot2")
        let there = [old, recorded.sha256, lost]
        #expect(try await store.takeLeftovers(among: there) == [lost])
        // Still, after one more death, until it is gone.
        let again = try late.pullThePlug().open(bootID: "boot3")
        #expect(try await again.takeLeftovers(among: [old, lost, StoreBench.digest("d")]) == [lost])
        try await again.settleUnused(lost)
        #expect(try await again.takeLeftovers(among: there).isEmpty)
    }

    @Test("an end without a record is told at once, one with a record is none")
    func end() async throws {
        let store = try StoreBench().open()
        let (old, recorded, lost) = (
            try StoreBench.digest("a"), try StoreBench.image("router", "b"), try StoreBench.digest("c")
        )
        let good = try await store.beginSealing(among: [old])
        try await store.addImage(recorded, replaces: false)
        #expect(try await store.endSealing(good, among: [old, recorded.sha256]).isEmpty)
        let bad = try await store.beginSealing(among: [old, recorded.sha256])
        #expect(try await store.endSealing(bad, among: [old, recorded.sha256, lost]) == [lost])
        #expect(try await store.endSealing(bad, among: [old, lost]).isEmpty)
        #expect(try await store.takeLeftovers(among: [old, recorded.sha256, lost]) == [lost])
    }

    @Test("bytes whose last name went are unused until they are settled")
    func removal() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let (first, second) = (try StoreBench.image("router", "a"), try StoreBench.image("router", "b"))
        try await store.addImage(first, replaces: false)
        #expect(try await store.addImage(second, replaces: true) == first.sha256)
        #expect(try await store.removeImage(named: second.name, callerUserID: 0) == second.sha256)
        try await store.settleUnused(first.sha256)
        let late = try bench.pullThePlug().open(bootID: "boot2")
        #expect(try await late.takeLeftovers(among: []) == [second.sha256])
    }

    @Test("a store that knows of no sealing takes nothing for left over")
    func unknown() async throws {
        let store = try StoreBench().open()
        #expect(try await store.takeLeftovers(among: [StoreBench.digest("a"), StoreBench.digest("b")]).isEmpty)
    }
}
