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
        try await store.abandonSealings()
        let there = [old, recorded.sha256, lost]
        #expect(try await store.takeLeftovers(among: there) == [lost])
        // Still, after one more death, until it is gone; and what the library sealed after the first look.
        let later = try late.pullThePlug()
        let again = try later.open(bootID: "boot3")
        try await again.abandonSealings()
        let belated = try StoreBench.digest("d")
        #expect(try await again.takeLeftovers(among: there + [belated]) == [lost, belated])
        try await again.settleUnused(lost)
        try await again.settleUnused(belated)
        // That was the second look, and the last.
        let last = try later.pullThePlug().open(bootID: "boot4")
        try await last.abandonSealings()
        #expect(try await last.takeLeftovers(among: there + [belated]).isEmpty)
    }

    @Test("an end without a record is told at once, one with a record is none")
    func end() async throws {
        let store = try StoreBench().open()
        let (old, recorded, lost) = (
            try StoreBench.digest("a"), try StoreBench.image("router", "b"), try StoreBench.digest("c")
        )
        let good = try await store.beginSealing(among: [old])
        try await store.addImage(recorded, replaces: false)
        #expect(try await store.endSealing(good, .recorded, among: [old, recorded.sha256, lost]).isEmpty)
        let bad = try await store.beginSealing(among: [old])
        #expect(try await store.endSealing(bad, .failed, among: [old, recorded.sha256, lost]) == [lost])
        let belated = try StoreBench.digest("d")
        #expect(try await store.takeLeftovers(among: [old, recorded.sha256, lost, belated]) == [lost])
    }

    @Test("what the library seals when nobody waits for it any more is found at the next start")
    func unheard() async throws {
        let bench = try StoreBench()
        let (old, belated) = (try StoreBench.digest("a"), try StoreBench.digest("b"))
        let early = try bench.open()
        let sealing = try await early.beginSealing(among: [old])
        #expect(try await early.endSealing(sealing, .unknown, among: [old]).isEmpty)
        let late = try bench.pullThePlug()
        #expect(try await late.open(bootID: "boot2").takeLeftovers(among: [old, belated]) == [belated])
    }

    @Test("what is under way is nobody's leftover")
    func underWay() async throws {
        let store = try StoreBench().open()
        let (old, new) = (try StoreBench.digest("a"), try StoreBench.digest("b"))
        let sealing = try await store.beginSealing(among: [old])
        #expect(try await store.takeLeftovers(among: [old, new]).isEmpty)
        #expect(try await store.endSealing(sealing, .failed, among: [old, new]) == [new])
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

    @Test("a library that cannot be looked at is no empty one")
    func unreadable() throws {
        let bench = try StoreBench()
        let images = SealedImages(directory: bench.directory)
        let digest = try StoreBench.digest("a")
        for name in ["\(digest).img", "\(digest).img.part", "notes.img"] { try bench.write([1], to: name) }
        #expect(try images.all() == [digest])
        #expect(throws: StationError.self) { try SealedImages(directory: bench.directory + "/nowhere").all() }
    }

    @Test("only what the library itself said is a failure that is over")
    func ends() {
        #expect(SealingEnd(StationError("image_no_table", "")) == .failed)
        #expect(SealingEnd(StationError("library_lost", "")) == .unknown)
        #expect(SealingEnd(CancellationError()) == .unknown)
    }

    @Test("a store that knows of no sealing takes nothing for left over")
    func unknown() async throws {
        let store = try StoreBench().open()
        #expect(try await store.takeLeftovers(among: [StoreBench.digest("a"), StoreBench.digest("b")]).isEmpty)
    }
}
