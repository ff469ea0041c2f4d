import StationCore
import Testing

@testable import StationService

@Suite("Image Builders and builds in the store")
struct StoreBuildTests {
    private static func facts(_ digit: Character, release: String = "snapshot") throws -> BuilderFacts {
        BuilderFacts(
            triple: try BuilderTriple(release: release, target: "x86", subtarget: "64"), archiveName: "a",
            archiveSHA256: try StoreBench.digest(digit), archiveByteCount: 1, byteCount: 2,
            vouching: ImageVouching(kind: .signature, subject: .file, key: "k"), mirror: "m",
            info: BuilderInfo(
                target: "x86/64", architecture: nil, revision: "r\(digit)", defaultPackages: ["a"], profiles: []),
            wasThere: false, warnings: [])
    }

    private static func inputs(_ digit: Character, _ packages: [String] = []) throws -> BuildInputs {
        var profile = Sample.profile
        profile.packages = packages
        return BuildInputs(
            profile: profile, builder: try StoreBench.digest(digit), versionCode: "r1", overlaySHA256: nil,
            extraPackages: [], localKey: nil)
    }

    private static func product(_ card: Character?) throws -> BuildProduct {
        let witness = FileWitness(inode: 1, byteCount: 4096, modifiedAt: 1, changedAt: 1)
        return BuildProduct(
            artifacts: [], versionCode: "r1", packageCount: 1,
            card: try card.map {
                CardImage(artifact: "a", sha256: try StoreBench.digest($0), byteCount: 4096, witness: witness)
            }, cardRefusal: nil, byteCount: 100)
    }

    private static func begin(_ store: Store, _ inputs: BuildInputs, id: BuildID = BuildID()) async throws
        -> BuildRecord
    {
        try await store.beginBuild(
            id: id, profile: FakeStation.profile.record, inputs: inputs, triple: Sample.triple, callerUserID: 7)
    }

    @Test("a builder is pending, ready, and deprecated when a newer one of its snapshot came")
    func builders() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let triple = try Self.facts("1").triple
        try await store.beginBuilder(triple, callerUserID: 7)
        #expect(try await store.builder(for: triple)?.state == .pending)
        let profile = BuilderProfile(
            name: "generic", title: "G", packages: [], hasImageMetadata: false, supportedDevices: [])
        let first = try await store.finishBuilder(Self.facts("1"), profiles: [profile], callerUserID: 7)
        #expect(first.state == .ready && first.revision == "r1" && first.changedByUserID == 7)
        #expect(try await store.builderProfiles(StoreBench.digest("1")) == [profile])
        // The same again changes nothing.
        #expect(try await store.finishBuilder(Self.facts("1"), profiles: [], callerUserID: 8) == first)
        let second = try await store.finishBuilder(Self.facts("2"), profiles: [], callerUserID: 7)
        #expect(try await store.builder(for: triple) == second)
        #expect(try await store.builders().map(\.state).sorted { $0.rawValue < $1.rawValue } == [.deprecated, .ready])
        // One that fails leaves the one that is ready.
        try await store.failBuilder(triple, StationError("a", "b"), callerUserID: 7)
        #expect(try await store.builder(for: triple)?.state == .ready)
        let old = try #require(try await store.builders().first { $0.state == .deprecated })
        try await store.removeBuilder(old, callerUserID: 7)
        #expect(try await store.builders().map(\.state) == [.ready])
    }

    @Test("what was under way when the power failed is broken or interrupted, and no build claims a success")
    func abandoned() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        try await store.beginBuilder(Sample.triple, callerUserID: 7)
        let begun = try await Self.begin(store, Self.inputs("1"))
        let after = try bench.pullThePlug().open(bootID: "boot2")
        try await after.abandonBuilders()
        try await after.abandonBuilds()
        #expect(try await after.builder(for: Sample.triple)?.state == .broken)
        let build = try await after.build(begun.id.text).record
        #expect(build.state == .interrupted && !build.isKept && build.problem?.code == "build_interrupted")
        #expect(try await after.build(of: begun.key) == nil)
    }

    @Test("a build is found by its key as long as its files are kept, the newest of several")
    func builds() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let inputs = try Self.inputs("1")
        let first = try await Self.begin(store, inputs)
        #expect(try await store.build(of: inputs.key) == nil)
        _ = try await store.finishBuild(first.id, Self.product("c"), inputs: inputs)
        let second = try await Self.begin(store, inputs)
        _ = try await store.finishBuild(second.id, Self.product("c"), inputs: inputs)
        #expect(try await store.build(of: inputs.key)?.id == second.id)
        #expect(try await store.build(of: Self.inputs("2").key) == nil)
        #expect(try await store.forgetFiles(of: second.id, callerUserID: nil) == nil)
        #expect(try await store.build(of: inputs.key)?.id == first.id)
        #expect(try await store.isReferenced(StoreBench.digest("c")))
        #expect(try await store.forgetFiles(of: first.id, callerUserID: nil) == StoreBench.digest("c"))
        #expect(try await !store.isReferenced(StoreBench.digest("c")))
        #expect(try await store.builds(.init()).map(\.id) == [second.id, first.id])
        let third = try await Self.begin(store, Self.inputs("1", ["nano"]))
        let failed = try await store.failBuild(third.id, .failed, StationError("a", "b"))
        #expect(failed.state == .failed)
        #expect(
            await storeFailure { _ = try await store.finishBuild(third.id, Self.product("c"), inputs: inputs) }?.code
                == "build_ended")
        #expect(try await store.builds(.init(state: .failed)).map(\.id) == [third.id])
        let details = try await store.build(third.id.text)
        let previous = try #require(try await store.previousBuild(of: details.record))
        #expect(previous.record.id == second.id)
        #expect(BuildInputs.differences(previous.inputs, details.inputs).contains { $0.contains("nano") })
    }

    @Test(
        "is named by its id or the beginning of it",
        arguments: [
            ("abababab", nil), (String(repeating: "ab", count: 16), nil), ("abac", "build_unknown"),
            ("aba", "build_unknown"),
            ("", "build_unknown"), ("ABAB", "build_unknown"), ("abab'--", "build_unknown"), ("cdcd", "build_ambiguous"),
        ])
    func reference(row: (text: String, code: String?)) async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        for id in [
            String(repeating: "ab", count: 16), "cdcd" + String(repeating: "0", count: 28),
            "cdcd" + String(repeating: "1", count: 28),
        ] {
            _ = try await Self.begin(store, Self.inputs("1"), id: try #require(BuildID(id)))
        }
        #expect(await storeFailure { _ = try await store.build(row.text) }?.code == row.code)
    }

    @Test("what a slot has is never among the builds that may go, which come in the order of their use")
    func eviction() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        var ids: [BuildID] = []
        for (digit, card) in zip("123", "cde") {
            let inputs = try Self.inputs(digit)
            let build = try await Self.begin(store, inputs)
            ids.append(try await store.finishBuild(build.id, Self.product(card), inputs: inputs).id)
        }
        var assignment = try StoreBench.assignment("router", "d")
        assignment.build = ids[1]
        let slot = try SlotName("slot1")
        try await store.saveConsent(
            slot: slot, isArmed: true, assignment: assignment, change: .assign, callerUserID: 7)
        #expect(try await store.unassignedBuilds().map(\.id) == [ids[0], ids[2]])
        #expect(try await store.slots(of: store.build(ids[1].text).record) == [slot])
        #expect(try await store.consent()[slot]?.assignment?.build == ids[1])
        try await store.saveConsent(slot: slot, isArmed: false, assignment: nil, change: .unassign, callerUserID: 7)
        #expect(try await store.unassignedBuilds().count == 3)
    }

    @Test("what a slot waits for outlives a restart")
    func preparation() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let slot = try SlotName("slot1")
        let preparation = SlotMachine.Preparation(profile: "home.ap", callerUserID: 7)
        try await store.saveConsent(
            slot: slot, isArmed: false, assignment: nil, change: .prepare, callerUserID: 7, preparation: preparation)
        let after = try bench.pullThePlug().open(bootID: "boot2")
        #expect(try await after.consent()[slot]?.preparation == preparation)
        try await store.saveConsent(
            slot: slot, isArmed: true, assignment: StoreBench.assignment(), change: .assign, callerUserID: 7)
        #expect(try await store.consent()[slot]?.preparation == nil)
    }

    @Test("a hit walks an index and reads one row")
    func plan() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let plan = try await store.perform { database in
            try database.query(
                """
                EXPLAIN QUERY PLAN SELECT * FROM builds WHERE build_key = ? AND state = 'succeeded' AND is_kept = 1
                ORDER BY sequence DESC LIMIT 1
                """, [.text("x")]
            ).map { try $0.text("detail") }
        }
        #expect(plan.count == 1 && plan[0].contains("builds_by_key"), "\(plan)")
    }
}
