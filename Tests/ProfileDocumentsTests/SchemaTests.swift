import ProfileDocuments
import StationCore
import Testing

@Suite("The schema's rules")
struct SchemaTests {
    @Test("a profile of nothing but what is required is good", arguments: DocumentFormat.allCases)
    func minimal(format: DocumentFormat) throws {
        let reading = try ProfileBench.reading(ProfileBench.document(), as: format)
        #expect(reading.violations.isEmpty)
        let profile = try #require(reading.profile)
        #expect(profile.profileID == "home.ap" && profile.release == "24.10.2" && profile.subtarget == "generic")
        #expect(profile.packages.isEmpty && profile.files.isEmpty && profile.policies == .init())
    }

    @Test(
        "what is required must be there, and not be empty", arguments: ProfileBench.required.map(\.0),
        DocumentFormat.allCases)
    func required(field: String, format: DocumentFormat) throws {
        #expect(try ProfileBench.violations([], without: field, as: format) == ["field_missing \(field)"])
        #expect(try ProfileBench.violations([(field, .text(""))], as: format) == ["value_empty \(field)"])
    }

    @Test("all violations are said at once, each with its place")
    func allAtOnce() throws {
        let text = """
            profile_id: -x
            name: ""
            nmae: typing error
            device_id: ap
            openwrt_release: snapshot
            target: ath79
            imagebuilder_profile: a b
            packages:
              - luci
              - $(shell id)
            policies: {filesystem: ext5}
            """
        let reading = try ProfileBench.reading(text, as: .yaml)
        #expect(reading.profile == nil)
        #expect(
            reading.violations.map { "\($0.line):\($0.column) \($0.code) \($0.field)" } == [
                "1:1 field_missing subtarget", "1:13 value_invalid profile_id", "2:7 value_empty name",
                "3:1 field_unknown nmae", "5:18 snapshot_not_allowed openwrt_release",
                "7:23 value_invalid imagebuilder_profile", "10:5 value_invalid packages[1]",
                "11:24 value_unknown policies.filesystem",
            ])
        #expect(reading.violations[3].remedy == "did you mean name?")
        #expect(reading.violations[7].remedy == "did you mean ext4?")
        #expect(reading.violations.allSatisfy { !$0.message.isEmpty })
    }

    @Test("places are right in JSON and TOML, too")
    func places() throws {
        let json = "{\n  \"profile_id\": \"-\",\n  \"näme\": 1,   \"tags\": [\"a\", \"ü\", \"b c\"]\n}"
        let toml = "profile_id = \"-\"\n\"näme\" = 1\ntags = [\"a\", \"ü\", \"b c\"]\n[[files]]\nsource = \"a b\"\n"
        let inJSON = try ProfileBench.reading(json, as: .json).violations.filter { $0.code != "field_missing" }
        let inTOML = try ProfileBench.reading(toml, as: .toml).violations.filter { $0.code != "field_missing" }
        #expect(
            inJSON.map { "\($0.line):\($0.column) \($0.field)" } == [
                "2:17 profile_id", "3:3 näme", "3:30 tags[1]", "3:35 tags[2]",
            ])
        #expect(
            inTOML.map { "\($0.line):\($0.column) \($0.field)" } == [
                "1:14 profile_id", "2:1 näme", "3:14 tags[1]", "3:19 tags[2]", "5:10 files[0].source",
            ])
    }

    @Test(
        "profile_id is a safe word of at most 128 characters, the first a letter or digit",
        arguments: [
            ("a", true), ("lab.router1.openwrt-23.05", true), ("home.ap-livingroom.22.03", true), ("A_b", true),
            ("0", true),
            ("", false), (".a", false), ("-a", false), ("_a", false), ("a b", false), ("a/b", false), ("a..b", true),
            ("ä", false), ("a\n", false), (String(repeating: "a", count: 128), true),
            (String(repeating: "a", count: 129), false),
        ])
    func profileID(text: String, isGood: Bool) throws {
        #expect(try ProfileBench.violations([("profile_id", .text(text))]).isEmpty == isGood)
    }

    @Test(
        "name is a line for people",
        arguments: [
            ("Living room AP (AX1800, 23.05)", true), ("Bob's “AP”; 3 # €", true), ("日本 🙂", true), (" a ", true),
            ("  ", false),
            ("a\nb", false), ("a\u{7}", false), ("a\u{2028}b", false), ("\u{202E}a", false),
            (String(repeating: "x", count: 201), false),
        ])
    func name(text: String, isGood: Bool) throws {
        #expect(try ProfileBench.violations([("name", .text(text))]).isEmpty == isGood)
    }

    @Test("description and notes have lines", arguments: ["description", "notes"])
    func prose(field: String) throws {
        #expect(try ProfileBench.violations([(field, .text(" a\n\tb `c` \"d\"\n\n"))]).isEmpty)
        #expect(try ProfileBench.violations([(field, .text("a\u{1B}[2J"))]) == ["value_invalid \(field)"])
        #expect(
            try ProfileBench.violations([(field, .text(String(repeating: "x", count: 16 * 1024 + 1)))])
                == ["value_too_long \(field)"])
    }

    @Test(
        "the Image Builder's words are of its characters",
        arguments: [
            ("openwrt_release", "23.05.2", true), ("openwrt_release", "25.12.0-rc1", true),
            ("openwrt_release", "a/b", false),
            ("openwrt_release", "..", false), ("target", "bcm27xx", true), ("target", "x86/64", false),
            ("target", "a.b", false),
            ("subtarget", "64", true), ("subtarget", "", false),
            ("imagebuilder_profile", "xunlong_orangepi-zero", true),
            ("imagebuilder_profile", "a b", false), ("device_id", "SN:00-1+2_3.4", true), ("device_id", "a b", false),
        ])
    func imageBuilder(field: String, text: String, isGood: Bool) throws {
        #expect(try ProfileBench.violations([(field, .text(text))]).isEmpty == isGood)
    }

    @Test("packages are names without white space", arguments: ["packages", "packages_remove"])
    func packages(field: String) throws {
        let good: DocumentValue = .list([.text("luci"), .text("libstdc++6"), .text("kmod-usb-storage"), .text("6in4")])
        #expect(try ProfileBench.violations([(field, good)]).isEmpty)
        for bad in ["", " ", "a b", "luci\t", "-ppp", "a$b", "a=1", "a\nb", "./a", String(repeating: "a", count: 129)] {
            let found = try ProfileBench.violations([(field, .list([.text("luci"), .text(bad)]))])
            #expect(found.count == 1 && found[0].hasSuffix(" \(field)[1]"), "“\(bad)”")
        }
    }

    @Test("a package cannot be put in and taken out")
    func contradiction() throws {
        let members: [(String, DocumentValue)] = [
            ("packages", .list([.text("luci"), .text("ppp")])), ("packages_remove", .list([.text("ppp")])),
        ]
        #expect(try ProfileBench.violations(members) == ["package_contradiction packages[1]"])
    }

    private func file(_ members: [(String, String)]) -> [(String, DocumentValue)] {
        [("files", .list([.table(members.map { .init($0.0, .text($0.1)) })]))]
    }

    @Test("files need source and destination, and nothing that is unknown")
    func files() throws {
        #expect(try ProfileBench.violations(file([("source", "a"), ("destination", "/a")])).isEmpty)
        #expect(try ProfileBench.violations(file([("source", "a")])) == ["field_missing files[0].destination"])
        #expect(try ProfileBench.violations(file([("destination", "/a")])) == ["field_missing files[0].source"])
        #expect(
            try ProfileBench.violations(file([("source", "a"), ("destination", "/a"), ("permissions", "0644")]))
                == ["field_unknown files[0].permissions"])
        #expect(try ProfileBench.violations([("files", .list([.text("a")]))]) == ["value_type files[0]"])
    }

    @Test(
        "destination begins with / and leads nowhere else",
        arguments: [
            ("/etc/banner", true), ("/a", true), ("etc/banner", false), ("/", false), ("/etc/", false),
            ("/etc/../a", false),
            ("/./a", false), ("//a", false), ("/a b", false), ("/a\"", false), ("/…", false),
        ])
    func destination(text: String, isGood: Bool) throws {
        #expect(try ProfileBench.violations(file([("source", "a"), ("destination", text)])).isEmpty == isGood)
    }

    @Test("no two files have one destination")
    func destinations() throws {
        let entry: DocumentValue = .table([.init("source", .text("a")), .init("destination", .text("/a"))])
        #expect(
            try ProfileBench.violations([("files", .list([entry, entry]))])
                == ["destination_duplicate files[1].destination"])
    }

    @Test(
        "mode is octal",
        arguments: [
            ("0644", true), ("600", true), ("4755", true), ("0888", false), ("64", false), ("00644", false),
            ("rw-r--r--", false),
            ("0o644", false), ("-644", false),
        ])
    func mode(text: String, isGood: Bool) throws {
        let members = file([("source", "a"), ("destination", "/a"), ("mode", text)])
        #expect(try ProfileBench.violations(members).isEmpty == isGood)
    }

    @Test(
        "owner is a user, or user and group",
        arguments: [
            ("root", true), ("root:root", true), ("1000:1000", true), ("dnsmasq:dnsmasq", true), ("root:", false),
            (":root", false),
            ("a:b:c", false), ("root root", false), ("$USER", false), (String(repeating: "a", count: 32), false),
        ])
    func owner(text: String, isGood: Bool) throws {
        let members = file([("source", "a"), ("destination", "/a"), ("owner", text)])
        #expect(try ProfileBench.violations(members).isEmpty == isGood)
    }

    @Test("filesystem is one that images come with")
    func filesystem() throws {
        for name in ["squashfs", "ext4"] {
            let profile = try ProfileBench.profile([("policies", .table([.init("filesystem", .text(name))]))])
            #expect(profile.policies.filesystem?.rawValue == name)
        }
        #expect(
            try ProfileBench.violations([("policies", .table([.init("filesystem", .text("ntfs"))]))])
                == ["value_unknown policies.filesystem"])
    }

    @Test("a snapshot must be allowed", arguments: ["snapshot", "SNAPSHOT", "24.10-SNAPSHOT"])
    func snapshot(release: String) throws {
        let allowing: (Bool) -> [(String, DocumentValue)] = { isAllowed in
            [("openwrt_release", .text(release)), ("policies", .table([.init("allow_snapshot", .boolean(isAllowed))]))]
        }
        let refused = ["snapshot_not_allowed openwrt_release"]
        #expect(try ProfileBench.violations([("openwrt_release", .text(release))]) == refused)
        #expect(try ProfileBench.violations(allowing(false)) == refused)
        #expect(try ProfileBench.violations(allowing(true)).isEmpty)
    }

    @Test("flags are true or false, numbers are whole and in their range", arguments: DocumentFormat.allCases)
    func flagsAndNumbers(format: DocumentFormat) throws {
        #expect(
            try ProfileBench.violations([("add_local_key", .text("true"))], as: format) == ["value_type add_local_key"])
        #expect(
            try ProfileBench.violations([("build_defaults", .table([.init("initramfs", .integer(1))]))], as: format)
                == ["value_type build_defaults.initramfs"])
        #expect(
            try ProfileBench.violations([("rootfs_partsize", .text("256"))], as: format) == [
                "value_type rootfs_partsize"
            ])
        for (size, isGood) in [
            (0, false), (-1, false), (1, true), (262_144, true), (262_145, false), (Int64.max, false),
        ] {
            let found = try ProfileBench.violations([("rootfs_partsize", .integer(size))], as: format)
            #expect(found == (isGood ? [] : ["value_out_of_range rootfs_partsize"]), "\(size)")
        }
    }

    @Test(
        "bin_dir is absolute and goes straight",
        arguments: [
            ("/srv/images", true), ("images", false), ("/srv/../etc", false), ("/srv/", false), ("/srv/$HOME", false),
        ])
    func binDirectory(path: String, isGood: Bool) throws {
        #expect(try ProfileBench.violations([("bin_dir", .text(path))]).isEmpty == isGood)
    }

    @Test(
        "bin_dir lies in one of the station's export directories",
        arguments: [
            ("/srv/images", ["/srv/images"], true), ("/srv/images/lab", ["/var", "/srv/images"], true),
            ("/srv/images", ["/"], true),
            ("/srv/images-2", ["/srv/images"], false), ("/srv", ["/srv/images"], false), ("/srv", [], false),
        ] as [(String, [String], Bool)])
    func exportRoots(path: String, roots: [String], isInside: Bool) throws {
        let problem = try ProfileBench.profile([("bin_dir", .text(path))]).exportProblem(roots: roots)
        #expect((problem == nil) == isInside)
        #expect(isInside || problem?.code == "export_not_allowed")
        #expect(try ProfileBench.profile().exportProblem(roots: roots) == nil)
    }

    @Test("unknown keys are refused with the nearest known one, everywhere")
    func unknown() throws {
        let reading = try ProfileBench.yaml(
            "packges: [luci]\npolicies: {filesytem: ext4}\nbuild_defaults: {zzzzzz: 1}\n")
        #expect(reading.violations.map(\.code) == ["field_unknown", "field_unknown", "field_unknown"])
        #expect(reading.violations[0].remedy == "did you mean packages?")
        #expect(reading.violations[1].remedy == "did you mean filesystem?")
        #expect(reading.violations[2].remedy == "one of: rebuild_if_cached, initramfs, keep_build_dir")
    }

    @Test("lists and tables that are missing, empty or nothing are empty")
    func missing() throws {
        let bare = try ProfileBench.profile()
        let lines =
            "tags:\npackages: null\nfiles: []\npolicies: {}\nbuild_defaults: ~\ndescription:\nnotes: ''\nbin_dir: null\n"
        #expect(try ProfileBench.yaml(lines).profile == bare)
        let json = DocumentFormat.json.write(ProfileBench.document()).dropLast(2) + ", \"tags\": null, \"notes\": null}"
        #expect(try ProfileBench.reading(String(json), as: .json).profile == bare)
        #expect(try ProfileBench.yaml("tags: luci\n").violations.map(\.code) == ["value_type"])
        #expect(try ProfileBench.yaml("policies: [ext4]\n").violations.map(\.code) == ["value_type"])
    }

    @Test("meta of an export is taken, in its section or without")
    func meta() throws {
        let meta =
            "created_at: 2025-11-28T12:34:56Z\nupdated_at: \"2025-11-28 13:00:00\"\ncreated_by: ai:github-copilot\n"
        let section = "meta:\n" + meta.split(separator: "\n").map { "  \($0)\n" }.joined()
        for text in [meta, section] {
            let reading = try ProfileBench.yaml(text)
            #expect(reading.violations.isEmpty)
            #expect(
                reading.meta?.createdAt == "2025-11-28T12:34:56Z" && reading.meta?.updatedAt == "2025-11-28 13:00:00")
            #expect(reading.profile?.createdBy == "ai:github-copilot")
        }
        #expect(
            try ProfileBench.yaml(meta + section).violations.map(\.code) == ["meta_twice", "meta_twice", "meta_twice"])
        #expect(try ProfileBench.yaml("meta: {id: 5}\n").violations.map(\.code) == ["field_unknown"])
    }

    @Test(
        "times are times",
        arguments: [
            ("2025-11-28", true), ("2025-11-28T12:34:56.789+01:00", true), ("2025-11-28 12:34:56", true),
            ("2025-13-01", false),
            ("yesterday", false), ("2025-11-28T25:00:00Z", false), ("2025-11-28T12:34:56X", false),
        ])
    func times(text: String, isGood: Bool) throws {
        #expect(try ProfileBench.yaml("created_at: \(text)\n").violations.isEmpty == isGood)
    }

    @Test("preferences that the Image Builder cannot honour are good, and noted")
    func notAvailable() throws {
        let profile = try ProfileBench.profile([
            (
                "policies",
                .table([.init("include_kernel_symbols", .boolean(true)), .init("strip_debug", .boolean(false))])
            ),
            ("build_defaults", .table([.init("initramfs", .boolean(true)), .init("keep_build_dir", .boolean(true))])),
            ("packages", .list([.text("luci"), .text("luci")])),
        ])
        #expect(
            profile.remarks.map { "\($0.code) \($0.field)" } == [
                "not_available policies.include_kernel_symbols", "not_available policies.strip_debug",
                "not_available build_defaults.initramfs", "listed_twice packages",
            ])
        #expect(try ProfileBench.profile().remarks.isEmpty)
    }

    @Test(
        "lists have their limits",
        arguments: [("tags", 64), ("packages", 1000), ("packages_remove", 1000), ("disabled_services", 100)])
    func lists(field: String, limit: Int) throws {
        let items: (Int) -> DocumentValue = { count in .list((0..<count).map { .text("p\($0)") }) }
        #expect(try ProfileBench.violations([(field, items(limit))]).isEmpty)
        #expect(try ProfileBench.violations([(field, items(limit + 1))]) == ["list_too_long \(field)"])
        #expect(try ProfileBench.violations([(field, items(10_000))]) == ["list_too_long \(field)"])
    }
}
