import FoundationEssentials
import ProfileDocuments
import StationCore
import StationTestSupport
import Testing

@Suite("Documents")
struct DocumentTests {
    private func code(_ text: String, _ format: DocumentFormat) -> String? {
        do throws(DocumentProblem) {
            _ = try format.read(Array(text.utf8))
            return nil
        } catch { return "\(error.code) \(error.position.line):\(error.position.column)" }
    }

    @Test("have one tree, whatever they are written in")
    func oneTree() throws {
        let yaml = "a: text\nb: [1, two]\nc: {d: true}\n"
        let json = #"{"a": "text", "b": [1, "two"], "c": {"d": true}}"#
        let toml = "a = \"text\"\nb = [1, \"two\"]\nc = {d = true}\n"
        func shape(_ node: DocumentNode) -> String {
            switch node.content {
            case .scalar(let scalar): scalar.boolean.map { "\($0)" } ?? scalar.integer.map { "\($0)" } ?? scalar.text
            case .list(let items): "[" + items.map(shape).joined(separator: ",") + "]"
            case .table(let members): "{" + members.map { "\($0.key):\(shape($0.value))" }.joined(separator: ",") + "}"
            }
        }
        let expected = "{a:text,b:[1,two],c:{d:true}}"
        #expect(shape(try DocumentFormat.yaml.read(Array(yaml.utf8))) == expected)
        #expect(shape(try DocumentFormat.json.read(Array(json.utf8))) == expected)
        #expect(shape(try DocumentFormat.toml.read(Array(toml.utf8))) == expected)
    }

    static let words = [
        "23.05", "yes", "no", "on", "0644", "1e3", "2025-01-01", "12:30:45", "0x1F", "1_000", ".5", "true", "64", "-1",
    ]

    @Test("keep the text of what stands without quotes where text is wanted", arguments: words)
    func plain(word: String) throws {
        let isRelease = !word.hasPrefix("-") && !word.hasPrefix(".")
        let tags = try ProfileBench.yaml(
            "notes: \(word)\ncreated_by: \(word)\n" + (isRelease ? "tags: [\(word)]\n" : ""))
        #expect(tags.violations.isEmpty, "\(tags.violations.map(\.text))")
        #expect(tags.profile?.notes == word && tags.profile?.createdBy == word)
        #expect(!isRelease || tags.profile?.tags == [word])
    }

    @Test("keep the text of numbers, dates and truth in TOML and JSON")
    func plainElsewhere() throws {
        let toml = DocumentFormat.toml.write(ProfileBench.document())
        let words = "tags = [23.05, 1e3, true, 2025-01-01, 0x1F, 1_000, 23.10] # 7\nnotes = 2025-01-01T10:00:00Z\n"
        let profile = try ProfileBench.reading(toml + words, as: .toml).profile
        #expect(profile?.tags == ["23.05", "1e3", "true", "2025-01-01", "0x1F", "1_000", "23.10"])
        #expect(profile?.notes == "2025-01-01T10:00:00Z")
        let json =
            DocumentFormat.json.write(ProfileBench.document()).dropLast(2) + ", \"tags\": [23.05, 1e3, true, 23.10]}"
        #expect(try ProfileBench.reading(String(json), as: .json).profile?.tags == ["23.05", "1e3", "true", "23.10"])
    }

    @Test("take null for nothing where a field may be missing, and for a word where it may not")
    func null() throws {
        let profile = try ProfileBench.yaml("notes: null\ntags: [null, Null]\n").profile
        #expect(profile?.notes == nil && profile?.tags == ["null", "Null"])
        let named = DocumentFormat.yaml.write(ProfileBench.document(without: "name")) + "name: null\n"
        #expect(try ProfileBench.reading(named, as: .yaml).profile?.name == "null")
        let json = DocumentFormat.json.write(ProfileBench.document(without: "name")).dropLast(2) + ", \"name\": null}"
        #expect(try ProfileBench.reading(String(json), as: .json).violations.map(\.code) == ["field_missing"])
    }

    @Test(
        "in YAML are refused with the place of what is wrong",
        arguments: [
            ("a: 1\na: 2\n", "key_duplicate 2:1"), ("a: &x 1\n", "yaml_alias 1:4"),
            ("a: [&x 1, *x]\n", "yaml_alias 1:5"),
            ("a: *x\n", "yaml_alias 1:4"), ("&x a: 1\n", "key_invalid 1:1"), ("a: !!str 1\n", "yaml_tag 1:4"),
            ("a: !ruby/object 1\n", "yaml_tag 1:4"), ("a: 1\n---\nb: 2\n", "documents_several 2:1"),
            ("--- \na: 1\n...\n---\nb: 1\n", "documents_several 4:1"), ("", "document_empty 1:1"),
            ("# nothing\n", "document_empty 1:1"),
            ("a: [1\n", "document_syntax 2:1"), ("a: 1\n\tb: 2\n", "document_syntax 2:1"),
            ("[a]: 1\n", "key_invalid 1:1"),
            ("? {a: 1}\n: 2\n", "key_invalid 1:3"), ("<<: *x\n", "yaml_alias 1:5"),
            ("a: \"\\q\"\n", "document_syntax 1:5"),
        ])
    func yaml(text: String, problem: String) {
        #expect(code(text, .yaml) == problem)
    }

    @Test(
        "in JSON are refused with the place of what is wrong",
        arguments: [
            ("{\"a\":1,\n\"a\":2}", "key_duplicate 2:1"), ("", "document_empty 1:1"), ("{} {}", "document_syntax 1:4"),
            ("{\"a\":1,}", "document_syntax 1:8"), ("[1,]", "document_syntax 1:4"), ("{a:1}", "document_syntax 1:2"),
            ("{'a':1}", "document_syntax 1:2"),
            ("[01]", "document_syntax 1:2"), ("[1.]", "document_syntax 1:2"), ("[.5]", "document_syntax 1:2"),
            ("[+1]", "document_syntax 1:2"),
            ("[1e]", "document_syntax 1:2"), ("[NaN]", "document_syntax 1:2"), ("[nul]", "document_syntax 1:2"),
            ("[\"a\nb\"]", "document_syntax 1:4"),
            ("[\"\\x\"]", "document_syntax 1:3"), ("[\"\\ud800\"]", "document_syntax 1:3"),
            ("[\"\\ud800\\u0041\"]", "document_syntax 1:3"),
            ("[\"\\udc00\"]", "document_syntax 1:3"), ("[\"a]", "document_syntax 1:5"),
            ("{\"a\" 1}", "document_syntax 1:6"), ("[1 2]", "document_syntax 1:4"),
            ("// c\n{}", "document_syntax 1:1"), ("{", "document_syntax 1:2"), ("[\"\\u00g0\"]", "document_syntax 1:7"),
        ])
    func json(text: String, problem: String) {
        #expect(code(text, .json) == problem)
    }

    @Test(
        "in TOML are refused with the place of what is wrong",
        arguments: [
            ("a = 1\na = 2\n", "document_syntax 2"), ("a.b = 1\n[a]\nb = 2\n", "document_syntax"),
            ("a = \n", "document_syntax 1"),
            ("[a\n", "document_syntax 1"), ("a = 08\n", "document_syntax 1"), ("", "document_empty 1:1"),
            ("a = \"\u{1}\"\n", "document_syntax 1"),
            // What toml++ thinks cannot be.
            ("[!]\n", "document_syntax 1:2"), ("a = 1\n [[ ä]]\n", "document_syntax 2:5"),
            ("a = 1\n[\t\0b]\n", "document_syntax 2:3"),
        ])
    func toml(text: String, problem: String) {
        #expect(code(text, .toml)?.hasPrefix(problem) == true, "\(code(text, .toml) ?? "taken")")
    }

    @Test("in TOML are quoted without what a terminal would act on")
    func quoted() {
        let error = #expect(throws: DocumentProblem.self) {
            try DocumentFormat.toml.read(Array("tr = fa\u{1B}[2J\u{1C}\n".utf8))
        }
        #expect(error?.message.printable(limit: .max) == error?.message, "\(error?.message ?? "taken")")
    }

    @Test("of another encoding are refused; a byte order mark is not", arguments: DocumentFormat.allCases)
    func encoding(format: DocumentFormat) throws {
        let text = format.write(ProfileBench.document())
        let marked = [0xEF, 0xBB, 0xBF] + Array(text.utf8)
        #expect(ProfileReader.read(try format.read(marked)).violations.isEmpty)
        let utf16: [UInt8] =
            [0xFF, 0xFE] + text.utf16.flatMap { unit -> [UInt8] in [UInt8(unit & 255), UInt8(unit >> 8)] }
        let others: [[UInt8]] = [utf16, Array(text.utf8) + [0xC3], [0xC0, 0x80]]
        for bytes in others {
            #expect(throws: DocumentProblem.self) { try format.read(bytes) }
        }
    }

    @Test(
        "of one line with very many values are read at once", .timeLimit(.minutes(1)),
        arguments: DocumentFormat.allCases)
    func longLine(format: DocumentFormat) throws {
        let list = "[" + String(repeating: "\"é\",1,", count: 20_000) + "23]"
        let texts: [DocumentFormat: String] = [.yaml: "a: \(list)\n", .json: "{\"a\":\(list)}", .toml: "a = \(list)\n"]
        let node = try format.read(Array((texts[format] ?? "").utf8))
        guard case .table(let members) = node.content, case .list(let items)? = members.first?.value.content else {
            Issue.record("it is no list")
            return
        }
        #expect(items.count == 40_001)
        #expect(items.last?.content == .scalar(DocumentScalar("23", isQuoted: false, integer: 23)))
    }

    @Test("that are deep, or full of values, are refused")
    func limits() {
        let deep = 500_000
        #expect(code(String(repeating: "[", count: deep), .yaml) == "document_too_deep 1:17")
        #expect(code(String(repeating: "- ", count: deep), .yaml) == "document_too_deep 1:33")
        #expect(code(String(repeating: "[", count: deep), .json) == "document_too_deep 1:17")
        #expect(code("a = " + String(repeating: "[", count: deep), .toml)?.hasPrefix("document_") == true)
        #expect(code(String(repeating: "a.", count: deep) + "a = 1", .toml) == "document_too_deep 1:34")
        #expect(code("[" + String(repeating: "a.", count: deep) + "a]", .toml) == "document_too_deep 1:35")
        #expect(
            code("[" + String(repeating: "\"a\" . ", count: deep / 4) + "a]", .toml)?.hasPrefix("document_too_deep")
                == true)
        #expect(
            code(
                "a = \"\"\"" + String(repeating: "a.", count: 1000) + "\"\"\" # " + String(repeating: ".", count: 99),
                .toml) == nil)
        #expect(
            code("[" + String(repeating: "0,", count: 60_000) + "0]", .json)?.hasPrefix("document_too_many_values")
                == true)
        #expect(
            code("[" + String(repeating: "0,", count: 60_000) + "0]", .yaml)?.hasPrefix("document_too_many_values")
                == true)
    }

    @Test("of a billion laughs are refused")
    func laughs() {
        var text = "a: &a [lol, lol]\n"
        for (before, name) in zip("abcdefgh", "bcdefghi") {
            text += "\(name): &\(name) [*\(before), *\(before), *\(before)]\n"
        }
        #expect(code(text, .yaml) == "yaml_alias 1:4")
    }

    @Test("of any bytes are read or refused, and never more", arguments: DocumentFormat.allCases, 0..<40)
    func garbage(format: DocumentFormat, seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let good = Array(format.write(ProfileBench.document([("tags", .list([.text("a"), .text("23.05")]))])).utf8)
        for _ in 0..<50 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                let marks = Array("{}[]\"':,=#&*!|>%@`\n\t -0a\\\u{0}".utf8)
                switch Int.random(in: 0...2, using: &random) {
                case 0: bytes[index] = marks.randomElement(using: &random) ?? 0
                case 1: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
                default: bytes.removeSubrange(index..<min(bytes.count, index + Int.random(in: 1...20, using: &random)))
                }
                if bytes.isEmpty { bytes = good }
            }
            guard let node = try? format.read(bytes) else { continue }
            let reading = ProfileReader.read(node)
            #expect((reading.profile == nil) == !reading.violations.isEmpty)
        }
    }

    @Test("in JSON are what other readers of JSON read", arguments: 0..<30)
    func likeFoundation(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        func value(_ depth: Int) -> JSONValue {
            switch Int.random(in: 0...(depth > 4 ? 3 : 5), using: &random) {
            case 0: return .null
            case 1: return .bool(.random(using: &random))
            case 2: return .integer(Int64.random(in: -1_000_000...1_000_000, using: &random))
            case 3: return .string(RandomText.any(&random))
            case 4: return .array((0..<Int.random(in: 0...4, using: &random)).map { _ in value(depth + 1) })
            default:
                return .object(
                    Dictionary(
                        (0..<Int.random(in: 0...4, using: &random)).map { _ in
                            (RandomText.any(&random), value(depth + 1))
                        },
                        uniquingKeysWith: { first, _ in first }))
            }
        }
        func same(_ node: DocumentNode, _ json: JSONValue) -> Bool {
            switch (node.content, json) {
            case (.scalar(let scalar), .null): scalar.absence == .nothing
            case (.scalar(let scalar), .bool(let value)): scalar.boolean == value
            case (.scalar(let scalar), .integer(let value)): scalar.integer == value
            case (.scalar(let scalar), .string(let text)):
                scalar.isQuoted && Array(scalar.text.utf8) == Array(text.utf8)
            case (.list(let items), .array(let values)):
                items.count == values.count && zip(items, values).allSatisfy(same)
            case (.table(let members), .object(let values)):
                members.count == values.count
                    && members.allSatisfy { member in values[member.key].map { same(member.value, $0) } == true }
            default: false
            }
        }
        for _ in 0..<20 {
            let json = value(0)
            for formatting in [JSONEncoder.OutputFormatting(), .prettyPrinted] {
                let encoder = JSONEncoder()
                encoder.outputFormatting = formatting
                let bytes = Array(try encoder.encode(json))
                #expect(same(try JSONDocument.read(bytes), json))
            }
        }
    }

    @Test(
        "have digests of FIPS 180-4",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
            (
                String(repeating: "a", count: 1_000_000),
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
            ),
        ])
    func digest(text: String, digest: String) {
        #expect(SHA256.digest(of: text.utf8).hexadecimal == digest)
        var inPieces = SHA256()
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            inPieces.update(Array(rest.prefix(977)))
            rest = rest.dropFirst(977)
        }
        #expect(inPieces.finish().hexadecimal == digest)
    }
}
