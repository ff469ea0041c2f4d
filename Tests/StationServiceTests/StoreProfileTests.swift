import StationCore
import Testing

@testable import StationService

@Suite("profiles in the store")
struct StoreProfileTests {
    private func profile(_ id: String = "home.ap", name: String = "One", tags: [String] = []) -> Profile {
        var profile = Sample.profile
        (profile.profileID, profile.name, profile.tags) = (id, name, tags)
        return profile
    }

    @Test("a changed profile is a new version, the same one is not")
    func versions() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        let (a, b) = (try StoreBench.digest("a"), try StoreBench.digest("b"))
        let imports: [(String, SHA256Digest?, Bool, Int)] = [
            ("One", nil, true, 1), ("One", nil, false, 1), ("Two", nil, true, 2), ("Two", a, true, 3),
            ("Two", a, false, 3),
            ("Two", b, true, 4), ("One", nil, true, 5),
        ]
        for (name, overlay, isNew, version) in imports {
            let done = try await store.addProfile(profile(name: name), overlaySHA256: overlay, callerUserID: 1000)
            #expect(done.isNewVersion == isNew && done.profile.version == version)
        }
        let versions = try await store.profileVersions("home.ap")
        #expect(
            versions.map(\.version) == [5, 4, 3, 2, 1] && versions.map(\.name) == ["One", "Two", "Two", "Two", "One"])
        #expect(versions.map(\.overlaySHA256) == [nil, b, a, nil, nil])
        #expect(try await store.profile("home.ap", version: 2)?.profile == profile(name: "Two"))
        #expect(try await store.profile("home.ap")?.record == versions[0])
        #expect(try await store.profile("home.ap", version: 6) == nil)
        #expect(try await store.profile("other") == nil)
    }

    @Test("versions stay when a profile is deleted, and go on counting when it comes back")
    func deletion() async throws {
        let bench = try StoreBench()
        do {
            let store = try bench.open(at: 1000)
            _ = try await store.addProfile(profile(), overlaySHA256: nil, callerUserID: 1000)
            #expect(try await store.deleteProfile("home.ap", callerUserID: 1001))
            #expect(try await !store.deleteProfile("home.ap", callerUserID: 1001))
        }
        try bench.waitUntilClosed()
        let store = try bench.open(at: 2000)
        #expect(try await store.profile("home.ap") == nil)
        #expect(try await store.profiles(.init()).isEmpty)
        #expect(try await store.profile("home.ap", version: 1)?.profile == profile())
        let back = try await store.addProfile(profile(), overlaySHA256: nil, callerUserID: 1000)
        #expect(back.isNewVersion && back.profile.version == 2)
        let stored = try await store.profile("home.ap")
        #expect(stored?.createdAt == 1000 && stored?.record.importedAt == 2000)
    }

    @Test(
        "are found by tag, device, release and target",
        arguments: [
            (Control.ProfileFilter(), 2), (.init(tag: "home"), 1), (.init(tag: "hom"), 0), (.init(device: "ap-1"), 2),
            (.init(device: "ap-2"), 0), (.init(release: "24.10.2"), 2), (.init(release: "24.10"), 0),
            (.init(target: "ath79"), 2), (.init(target: "ath79/generic"), 2), (.init(target: "generic"), 0),
            (.init(tag: "home", target: "x86"), 0),
        ])
    func filters(filter: Control.ProfileFilter, count: Int) async throws {
        let store = try StoreBench().open()
        _ = try await store.addProfile(profile("b", tags: ["home"]), overlaySHA256: nil, callerUserID: 0)
        _ = try await store.addProfile(profile("a", tags: ["lab"]), overlaySHA256: nil, callerUserID: 0)
        let found = try await store.profiles(filter)
        #expect(found.count == count)
        #expect(found.map(\.profileID) == found.map(\.profileID).sorted())
    }

    @Test("who imported and who deleted is written down")
    func audit() async throws {
        let store = try StoreBench().open()
        let digest = try await store.addProfile(profile(), overlaySHA256: nil, callerUserID: 1000).profile.sha256
        _ = try await store.deleteProfile("home.ap", callerUserID: 1001)
        let changes = try await store.changes()
        #expect(changes.map(\.kind) == [.deleteProfile, .importProfile] && changes.map(\.userID) == [1001, 1000])
        #expect(changes.allSatisfy { $0.detail == "home.ap version 1" && $0.sha256 == digest })
    }

    @Test("what was written is there after the power is cut")
    func power() async throws {
        let bench = try StoreBench()
        let store = try bench.open()
        _ = try await store.addProfile(profile(), overlaySHA256: nil, callerUserID: 0)
        let other = try bench.pullThePlug().open()
        #expect(try await other.profile("home.ap")?.profile == profile())
    }
}
