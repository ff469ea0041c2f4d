import ProfileDocuments
import StationCore
import Testing

/// What make, a shell or a path could take for something else, in every field, in every format.
@Suite("Injection")
struct InjectionTests {
    /// Fields whose text reaches make, a path, a URL or a command, as they are named in violations.
    static let strict = [
        "profile_id", "device_id", "tags[0]", "openwrt_release", "target", "subtarget", "imagebuilder_profile",
        "packages[0]",
        "packages_remove[0]", "files[0].source", "files[0].destination", "files[0].mode", "files[0].owner",
        "overlay_dir",
        "policies.filesystem", "bin_dir", "extra_image_name", "disabled_services[0]", "created_at", "updated_at",
        "meta.created_at", "meta.updated_at",
    ]
    /// Lines for people, which go nowhere but to people.
    static let lines = ["name", "created_by", "meta.created_by"]
    static let prose = ["description", "notes"]

    static let attacks = [
        "$(shell touch /tmp/x)", "${shell id}", "$(eval x)", "a$(\u{301}shell id)", "a`id`", "a\nb", "a\rb", "a\u{0}b",
        "a\u{1B}[2J",
    ]
    static let strictAttacks = [
        "a b", "a\"b", "a'b", "a#b", "a;b", "a|b", "a&b", "a>b", "a\\b", "a$b", "a\tb", "a\u{A0}b", "a\u{202E}b", "ａ",
        "a*", "a?b", "a!",
        "../../etc/shadow", "a/../b", "..", "-n", "--help", "$$(id)", "a%0Ab\n", "'; rm -rf /; '",
    ]

    /// A good document with a text in one field.
    static func document(_ field: String, _ text: String) -> DocumentValue {
        let value = DocumentValue.text(text)
        let parts = field.split(separator: ".").map(String.init)
        switch (parts[0], parts.count) {
        case ("files[0]", 2):
            var members = ["source": DocumentValue.text("a"), "destination": .text("/a")]
            members[parts[1]] = value
            return ProfileBench.document([
                ("files", .list([.table(members.sorted { $0.key < $1.key }.map { .init($0.key, $0.value) })]))
            ])
        case (let table, 2): return ProfileBench.document([(table, .table([.init(parts[1], value)]))])
        case (let list, _) where list.hasSuffix("[0]"):
            return ProfileBench.document([(String(list.dropLast(3)), .list([value]))])
        default: return ProfileBench.document([(field, value)])
        }
    }

    private func expectRefused(_ field: String, _ text: String, _ format: DocumentFormat) throws {
        let reading: ProfileReading
        do throws(DocumentProblem) {
            reading = ProfileReader.read(try format.read(Array(format.write(Self.document(field, text)).utf8)))
        } catch {
            Issue.record("\(format) \(field) “\(text.printable())”: \(error)")
            return
        }
        #expect(reading.profile == nil, "\(format) \(field) took “\(text.printable())”")
        #expect(
            reading.violations.map(\.field) == [field]
                && ["value_invalid", "value_too_long", "value_unknown"].contains(reading.violations[0].code),
            "\(format) \(field) “\(text.printable())”: \(reading.violations.map(\.text))")
    }

    @Test("is refused by name in what reaches make or a path", arguments: strict, DocumentFormat.allCases)
    func inStrictText(field: String, format: DocumentFormat) throws {
        for attack in Self.attacks + Self.strictAttacks { try expectRefused(field, attack, format) }
    }

    @Test("is refused by name in lines for people", arguments: lines, DocumentFormat.allCases)
    func inLines(field: String, format: DocumentFormat) throws {
        for attack in Self.attacks { try expectRefused(field, attack, format) }
    }

    @Test("that make expands is refused by name in texts for people", arguments: prose, DocumentFormat.allCases)
    func inProse(field: String, format: DocumentFormat) throws {
        for attack in Self.attacks where !["a`id`", "a\nb"].contains(attack) {
            try expectRefused(field, attack, format)
        }
    }

    @Test("takes no part of the table for granted: good text passes", arguments: strict + lines + prose)
    func good(field: String) throws {
        let good = [
            "files[0].destination": "/etc/a", "bin_dir": "/srv/a", "files[0].mode": "0644",
            "policies.filesystem": "ext4",
            "created_at": "2025-01-01", "updated_at": "2025-01-01", "meta.created_at": "2025-01-01",
            "meta.updated_at": "2025-01-01",
        ]
        for format in DocumentFormat.allCases {
            let reading = try ProfileBench.reading(Self.document(field, good[field] ?? "a1"), as: format)
            #expect(reading.violations.isEmpty, "\(format) \(field): \(reading.violations.map(\.text))")
        }
    }

    @Test("of 10 MB is refused before it is looked at", arguments: DocumentFormat.allCases)
    func huge(format: DocumentFormat) throws {
        let text = format.write(ProfileBench.document([("name", .text(String(repeating: "x", count: 10_000_000)))]))
        let folder = try TemporaryFolder()
        let file = try folder.write("big.\(format)", text)
        #expect(ProfileFile.read(file).violations.map(\.code) == ["document_too_large"])
    }

    @Test("of 10,000 packages is refused by name", arguments: DocumentFormat.allCases)
    func packages(format: DocumentFormat) throws {
        let packages = DocumentValue.list((0..<10_000).map { .text("p\($0)") })
        #expect(try ProfileBench.violations([("packages", packages)], as: format) == ["list_too_long packages"])
    }

    @Test("of a long text is refused by name", arguments: strict + lines + prose)
    func long(field: String) throws {
        let reading = try ProfileBench.reading(Self.document(field, String(repeating: "a", count: 200_000)))
        #expect(reading.violations.map(\.field) == [field])
    }
}
