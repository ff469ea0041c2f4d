import ProfileDocuments
import StationCore
import StationTestSupport
import Testing

@Suite("Differences of profiles")
struct DifferenceTests {
    @Test("of a profile from itself are none")
    func none() throws {
        var random = SeededRandom(seed: 3)
        let profile = RoundTripTests.profile(&random)
        #expect(profile.differences(from: profile).isEmpty)
    }

    @Test("name each field with before and after, lists with what came and went")
    func fields() throws {
        let old = try ProfileBench.profile([
            ("packages", .list([.text("luci"), .text("ppp")])), ("tags", .list([.text("a"), .text("b")])),
            ("policies", .table([.init("filesystem", .text("ext4"))])), ("notes", .text("gone")),
        ])
        let new = try ProfileBench.profile([
            ("name", .text("Another")), ("packages", .list([.text("luci"), .text("htop")])),
            ("tags", .list([.text("b"), .text("a")])),
            ("policies", .table([.init("filesystem", .text("squashfs"))])), ("rootfs_partsize", .integer(256)),
        ])
        #expect(
            new.differences(from: old) == [
                ProfileDifference(field: "name", before: .string("An access point"), after: .string("Another")),
                ProfileDifference(
                    field: "tags", before: .array([.string("a"), .string("b")]),
                    after: .array([.string("b"), .string("a")]),
                    added: [], removed: []),
                ProfileDifference(
                    field: "packages", before: .array([.string("luci"), .string("ppp")]),
                    after: .array([.string("luci"), .string("htop")]), added: ["htop"], removed: ["ppp"]),
                ProfileDifference(field: "policies.filesystem", before: .string("ext4"), after: .string("squashfs")),
                ProfileDifference(field: "rootfs_partsize", before: nil, after: .integer(256)),
                ProfileDifference(field: "notes", before: .string("gone"), after: nil),
            ])
    }

    @Test("are there exactly where digests differ", arguments: 0..<50)
    func digests(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let one = RoundTripTests.profile(&random)
        let other = random.chance(percent: 20) ? one : RoundTripTests.profile(&random)
        #expect(other.differences(from: one).isEmpty == (one.digest == other.digest))
    }
}
