import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

@Suite("which file of an archive is the image")
struct MemberChoiceTests {
    private static func members(_ paths: String...) -> [ArchiveMember] {
        paths.enumerated().map { index, path in
            ArchiveMember(path: path, isCandidate: path.contains(".img"), index: index)
        }
    }

    private static func choice(
        _ members: [ArchiveMember], _ name: String? = nil, isRaw: Bool = false
    ) -> (path: String?, error: StationError?) {
        do {
            return (try MemberChoice.choose(from: members, named: name, isRaw: isRaw).path, nil)
        } catch { return (nil, error) }
    }

    @Test("the only image is it; of several, somebody has to say which")
    func choice() {
        let one = Self.members("README", "a/card.img", "LICENSE")
        let two = Self.members("a/card.img", "b/card.img", "b/other.img.gz", "README")
        #expect(Self.choice(one).path == "a/card.img")
        #expect(Self.choice(one, "README").path == "README", "who names one, means it")
        let ambiguous = Self.choice(two).error
        #expect(ambiguous?.code == "member_ambiguous" && ambiguous?.remedy.contains("--member a/card.img") == true)
        #expect(ambiguous?.message.contains("a/card.img, b/card.img, b/other.img.gz") == true)
        #expect(ambiguous?.message.contains("README") == false)
        #expect(Self.choice(two, "b/card.img").path == "b/card.img")
        #expect(Self.choice(two, "other.img.gz").path == "b/other.img.gz")
        #expect(Self.choice(two, "card.img").error?.code == "member_ambiguous")
        #expect(Self.choice(two, "ther.img.gz").error?.code == "member_unknown")
        #expect(Self.choice(two, "b/crad.img").error?.remedy.contains("b/card.img") == true)
        #expect(Self.choice(Self.members("README"), isRaw: true).path == "README")
        #expect(Self.choice(Self.members("README")).error?.code == "member_missing")
        #expect(Self.choice([]).error?.code == "member_missing")
        let rude = Self.choice([ArchiveMember(path: "\u{1B}[2J", isCandidate: false, index: 0)]).error
        #expect(rude?.message.contains("\u{1B}") == false)
    }

    @Test("in a real zip and a real tar", arguments: ["zip -q -r out.zip d && mv out.zip out", "tar -cf out d"])
    func archives(command: String) throws {
        let bench = try VaultBench()
        let image = PackedSample.image(5000)
        let prepare = "mkdir d d/e; ln -s nowhere d/link; cp image.img 'd/one ä.img'; echo read me > d/README; "
        let one = try PackedSample.run(prepare + command, ["image.img": image])
        #expect(try bench.vault.importImage(from: bench.file(one), .any).sha256 == VaultBench.digest(image))
        let two = try PackedSample.run(prepare + "gzip -c image.img > d/e/two; " + command, ["image.img": image])
        let error = try #require(bench.failure(try bench.file(two)))
        #expect(error.code == "member_ambiguous" && error.message.contains("d/one ä.img"))
        #expect(error.message.contains("d/e/two"))
        for (name, container) in [("d/one ä.img", ""), ("two", " › gzip")] {
            var conditions = ImportConditions.any
            conditions.member = name
            let sealed = try bench.vault.importImage(from: bench.file(two), conditions)
            #expect(sealed.origin.container.hasSuffix(container))
            #expect(try sealed.sha256 == VaultBench.digest(image))
        }
        var conditions = ImportConditions.any
        conditions.member = "x"
        #expect(bench.failure(try bench.file(two), conditions)?.code == "member_unknown")
        #expect(bench.failure(try bench.file(image), conditions)?.code == "member_unknown", "it is no archive")
    }
}
