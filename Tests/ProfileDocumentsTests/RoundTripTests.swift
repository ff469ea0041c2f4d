import FoundationEssentials
import ProfileDocuments
import StationCore
import StationTestSupport
import Testing

/// Texts that formats and their readers get wrong.
enum RandomText {
    static let nasty = [
        "", " ", "null", "~", "true", "no", "Yes", "ON", "y", "0644", "23.05", "1e3", ".inf", "0x1F", "1_000",
        "12:30:45", "2025-01-01",
        "-", "- a", "a: b", "a #b", "#", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a`", "'", "\"", "\\", "\\n", "{a}",
        "[a]", "a, b",
        "?", "? a", ":", "::", "---", "...", "--- a", "<<", "=", " lead", "trail ", "\ttab", "a\tb", "a\n", "\na",
        "a\n\nb", "a\n\n",
        " a\nb", "a\n b\n", "a \nb", "a\n#b\n", "a\n- b\nc: d\n", "'''", "\"\"\"", "a\"\"\"\nb", "a\\\nb", "ü", "日本\n語",
        "🙂", "e\u{301}",
        "\u{A0}", "\u{AD}", "\u{85}x", "\u{2028}x", "\u{FEFF}x", "a\u{FEFF}", "\u{FFFD}", "\u{10FFFD}",
        "\u{1F468}\u{200D}\u{1F469}",
    ]

    static func any(_ random: inout SeededRandom) -> String {
        (0..<Int.random(in: 0...3, using: &random)).map { _ in nasty.randomElement(using: &random) ?? "" }.joined()
    }

    /// One that a rule takes.
    static func some(_ rule: TextRule, _ random: inout SeededRandom) -> String {
        while true {
            let text = any(&random)
            if rule.problem(with: text) == nil { return text }
        }
    }

    /// A word of some characters that a rule takes.
    static func word(_ rule: TextRule, _ characters: String, prefix: String = "", _ random: inout SeededRandom)
        -> String
    {
        while true {
            let text =
                prefix
                + String(
                    (0..<Int.random(in: 1...12, using: &random)).map { _ in
                        characters.randomElement(using: &random) ?? "a"
                    })
            if rule.problem(with: text) == nil { return text }
        }
    }
}

@Suite("Export and import")
struct RoundTripTests {
    /// A good profile with anything in any field.
    static func profile(_ random: inout SeededRandom) -> Profile {
        let characters = "aZ09e._+-"
        func word(_ rule: TextRule) -> String { RandomText.word(rule, characters, &random) }
        func maybe<Value>(_ make: () -> Value) -> Value? { random.chance(percent: 60) ? make() : nil }
        func words(_ rule: TextRule) -> [String] { (0..<Int.random(in: 0...5, using: &random)).map { _ in word(rule) } }
        var profile = Profile(
            profileID: word(ProfileRules.profileID), name: RandomText.some(ProfileRules.name, &random),
            deviceID: word(ProfileRules.deviceID),
            release: word(ProfileRules.release), target: word(ProfileRules.target),
            subtarget: word(ProfileRules.subtarget),
            imageBuilderProfile: word(ProfileRules.imageBuilderProfile))
        profile.description = maybe { RandomText.some(ProfileRules.description, &random) }
        profile.tags = words(ProfileRules.tag)
        profile.packages = words(ProfileRules.package)
        profile.packagesRemove = words(ProfileRules.package).filter { !profile.packages.contains($0) }
        for index in 0..<Int.random(in: 0...3, using: &random) {
            profile.files.append(
                Profile.File(
                    source: RandomText.word(ProfileRules.source, "a0._-/@", &random),
                    destination: RandomText.word(ProfileRules.destination, "a0._-/", prefix: "/f\(index)", &random),
                    mode: maybe { ["644", "0600", "4755", "0007"].randomElement(using: &random) ?? "644" },
                    owner: maybe { ["root", "0:0", "a-b:c_d", "on"].randomElement(using: &random) ?? "root" }))
        }
        profile.overlayDirectory = maybe { RandomText.word(ProfileRules.source, "a0._-/@", &random) }
        profile.policies.filesystem = maybe { Profile.Filesystem.allCases.randomElement(using: &random) ?? .ext4 }
        profile.policies.includeKernelSymbols = maybe { .random(using: &random) }
        profile.policies.stripDebug = maybe { .random(using: &random) }
        profile.policies.autoResizeRootfs = maybe { .random(using: &random) }
        profile.policies.allowSnapshot = maybe { .random(using: &random) }
        profile.buildDefaults.rebuildIfCached = maybe { .random(using: &random) }
        profile.buildDefaults.initramfs = maybe { .random(using: &random) }
        profile.buildDefaults.keepBuildDirectory = maybe { .random(using: &random) }
        profile.binDirectory = maybe { RandomText.word(ProfileRules.binDirectory, "a0._-/", prefix: "/", &random) }
        profile.extraImageName = maybe { word(ProfileRules.extraImageName) }
        profile.disabledServices = words(ProfileRules.service)
        profile.rootfsPartitionMebibytes = maybe { Int.random(in: 1...262_144, using: &random) }
        profile.addLocalKey = maybe { .random(using: &random) }
        profile.createdBy = maybe { RandomText.some(ProfileRules.createdBy, &random) }
        profile.notes = maybe { RandomText.some(ProfileRules.notes, &random) }
        return profile
    }

    @Test("give the same profile, byte for byte", arguments: DocumentFormat.allCases, 0..<100)
    func identity(format: DocumentFormat, seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        for _ in 0..<10 {
            let profile = Self.profile(&random)
            let meta =
                random.chance(percent: 50)
                ? ProfileMeta(createdAt: "2025-11-28T12:34:56Z", createdBy: profile.createdBy) : nil
            let text = format.write(profile.document(meta: meta))
            let reading = ProfileReader.read(try format.read(Array(text.utf8)))
            #expect(reading.violations.isEmpty, "\(reading.violations.map(\.text))\n\(text)")
            // Of canonical texts, since Swift holds texts for equal that have different bytes.
            #expect(
                reading.profile.map { Array($0.canonicalJSON.utf8) } == Array(profile.canonicalJSON.utf8), "\(text)")
            #expect(reading.profile == profile && reading.meta == meta)
            // And nothing changes on a second way round.
            #expect(reading.profile.map { format.write($0.document(meta: reading.meta)) } == text)
        }
    }

    @Test("keep any text in any place", arguments: DocumentFormat.allCases, RandomText.nasty)
    func texts(format: DocumentFormat, text: String) throws {
        let document: DocumentValue = .table([
            .init("a", .text(text)), .init("b", .list([.text(text), .text("x"), .text(text)])),
            .init("c", .table([.init("d", .text(text)), .init("e", .list([.table([.init("f", .text(text))])]))])),
        ])
        let node = try format.read(Array(format.write(document).utf8))
        func texts(_ node: DocumentNode) -> [String] {
            switch node.content {
            case .scalar(let scalar): [scalar.text]
            case .list(let items): items.flatMap(texts)
            case .table(let members): members.flatMap { texts($0.value) }
            }
        }
        #expect(texts(node).map { Array($0.utf8) } == [text, text, "x", text, text, text].map { Array($0.utf8) })
    }

    @Test(
        "in YAML quote what older readers take for something else",
        arguments: ["yes", "No", "on", "y", "null", "23.05", "0644", "1e3", "2025-01-01"])
    func quoted(word: String) {
        #expect(DocumentFormat.yaml.write(.table([.init("a", .text(word))])) == "a: \"\(word)\"\n")
    }

    @Test("give the same digest in every format, and another one for another profile", arguments: 0..<20)
    func digests(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        var profile = Self.profile(&random)
        let digest = profile.digest
        for format in DocumentFormat.allCases {
            #expect(
                ProfileReader.read(try format.read(Array(format.write(profile.document()).utf8))).profile?.digest
                    == digest)
        }
        profile.tags.append("another")
        #expect(profile.digest != digest)
    }

    @Test("through Codable hold every rule")
    func codable() throws {
        var random = SeededRandom(seed: 7)
        for _ in 0..<20 {
            let profile = Self.profile(&random)
            let data = try JSONEncoder().encode(profile)
            #expect(try JSONDecoder().decode(Profile.self, from: data) == profile)
        }
        let bad = Data(#"{"profile_id": "$(id)", "name": "a"}"#.utf8)
        #expect { try JSONDecoder().decode(Profile.self, from: bad) } throws: {
            ($0 as? StationError)?.code == "value_invalid"
        }
    }

    @Test("with meta put who made it there only")
    func meta() throws {
        var profile = try ProfileBench.profile()
        profile.createdBy = "human:alice"
        let text = DocumentFormat.yaml.write(profile.document(meta: ProfileMeta(createdAt: "2025-11-28T12:34:56Z")))
        #expect(text.hasSuffix("meta:\n  created_at: \"2025-11-28T12:34:56Z\"\n  created_by: \"human:alice\"\n"))
        #expect(!DocumentFormat.yaml.write(profile.document()).contains("meta"))
    }
}
