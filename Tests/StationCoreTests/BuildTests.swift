import StationCore
import StationTestSupport
import Testing

@Suite("What a build is made from")
struct BuildTests {
    static func profile(_ change: (inout Profile) -> Void = { _ in }) -> Profile {
        var profile = Profile(
            profileID: "home.ap", name: "An access point", deviceID: "ap", release: "24.10.2", target: "x86",
            subtarget: "64", imageBuilderProfile: "generic")
        profile.packages = ["luci", "htop"]
        profile.packagesRemove = ["ppp", "ppp-mod-pppoe"]
        profile.disabledServices = ["dnsmasq", "odhcpd"]
        profile.tags = ["a", "b"]
        change(&profile)
        return profile
    }

    static func inputs(
        _ change: (inout Profile) -> Void = { _ in }, builder: String = "1", version: String = "r1",
        overlay: String? = nil, extra: [String] = [], key: String? = nil
    ) throws -> BuildInputs {
        BuildInputs(
            profile: profile(change), builder: try Samples.digest(Character(builder)), versionCode: version,
            overlaySHA256: try overlay.map { try Samples.digest(Character($0)) }, extraPackages: extra,
            localKey: try key.map { try Samples.digest(Character($0)) })
    }

    @Test("is handed to make as the schema maps it")
    func arguments() throws {
        let profile = Self.profile {
            $0.extraImageName = "lab-debug"
            $0.rootfsPartitionMebibytes = 256
            $0.addLocalKey = true
        }
        #expect(
            try MakeArguments.image(
                of: profile, extraPackages: ["tcpdump", "luci"], files: "/files", binDirectory: "/out")
                == [
                    "image", "PROFILE=generic", "PACKAGES=luci htop tcpdump -ppp -ppp-mod-pppoe", "FILES=/files",
                    "BIN_DIR=/out", "EXTRA_IMAGE_NAME=lab-debug", "DISABLED_SERVICES=dnsmasq odhcpd",
                    "ROOTFS_PARTSIZE=256", "ADD_LOCAL_KEY=1",
                ])
        let plain = Profile(
            profileID: "p", name: "n", deviceID: "d", release: "r", target: "t", subtarget: "s",
            imageBuilderProfile: "generic")
        #expect(
            try MakeArguments.image(of: plain, extraPackages: [], files: "/files", binDirectory: "/out")
                == ["image", "PROFILE=generic", "FILES=/files", "BIN_DIR=/out"])
    }

    @Test(
        "never has what make or a shell expands, whatever let it through before",
        arguments: [
            "$(shell id)", "${X}", "$$x", "`id`", "a\nb", "a\"b", "a'b", "a;b", "a#b", "a%b", "a\\b", "a=b", "a|b", "é",
        ])
    func expansion(text: String) throws {
        let changes: [@Sendable (inout Profile) -> Void] = [
            { $0.imageBuilderProfile = text }, { $0.packages = [text] }, { $0.packagesRemove = [text] },
            { $0.extraImageName = text }, { $0.disabledServices = [text] },
        ]
        for change in changes {
            #expect {
                try MakeArguments.image(of: Self.profile(change), extraPackages: [], files: "/f", binDirectory: "/o")
            } throws: { ($0 as? StationError)?.code == "value_unsafe" }
        }
        #expect(throws: StationError.self) {
            try MakeArguments.image(of: Self.profile(), extraPackages: [text], files: "/f", binDirectory: "/o")
        }
    }

    @Test("has another key when any one thing of it is another")
    func key() throws {
        let changes: [@Sendable (inout Profile) -> Void] = [
            { $0.packages.append("nano") }, { $0.packagesRemove = ["ppp"] }, { $0.disabledServices = [] },
            { $0.imageBuilderProfile = "other" }, { $0.policies.filesystem = .ext4 }, { $0.extraImageName = "x" },
            { $0.rootfsPartitionMebibytes = 8 }, { $0.policies.autoResizeRootfs = true }, { $0.profileID = "other" },
            { $0.files = [.init(source: "a", destination: "/a", mode: "0600", owner: "x:y")] },
        ]
        var keys = try changes.map { try Self.inputs($0).key }
        keys += [
            try Self.inputs().key, try Self.inputs(builder: "2").key, try Self.inputs(version: "r2").key,
            try Self.inputs(overlay: "1").key, try Self.inputs(overlay: "2").key, try Self.inputs(extra: ["nano"]).key,
            try Self.inputs({ $0.addLocalKey = true }).key, try Self.inputs({ $0.addLocalKey = true }, key: "1").key,
        ]
        // A package of the request is one of the image: `nano` above is there twice, in two ways that are not the same profile.
        #expect(Set(keys).count == keys.count)
    }

    @Test("has the same key in whatever order lists without an order are")
    func order() throws {
        let reordered = try Self.inputs {
            $0.packages.reverse()
            $0.packagesRemove.reverse()
            $0.disabledServices.reverse()
            $0.tags.reverse()
        }
        #expect(reordered.key == (try Self.inputs().key))
        // A station's key is nothing to an image that does not trust it.
        #expect(try Self.inputs(key: "1").key == Self.inputs().key)
    }

    @Test("is told apart by name")
    func differences() throws {
        let before = try Self.inputs().document.json
        let after = try Self.inputs({ $0.packages.append("nano") }, builder: "2").document.json
        let lines = BuildInputs.differences(before, after)
        #expect(lines.contains { $0.hasPrefix("builder_sha256: 1") })
        #expect(lines.contains { $0.hasPrefix("effective_packages: ") && $0.contains("nano") })
        #expect(lines.contains { $0.hasPrefix("profile.packages: ") } && lines.count == 3)
    }

    static let failures: [(log: String, code: String, hint: String)] = [
        (
            "Collected errors:\n * opkg_install_cmd: Cannot install package tcpdmp.\nmake: *** Error 1",
            "package_unknown", "tcpdump?"
        ),
        (
            "Collected errors:\n * opkg_install_cmd: Cannot install package libstdc++6.5.\n", "package_unknown",
            "libstdc++6.5"
        ),
        (
            "ERROR: unable to select packages:\n  nope (no such package):\n    required by: world[nope]",
            "package_unknown", "nope"
        ),
        ("WARNING: Image file x.bin is too big: 9000000 > 8126464", "image_too_big", "9000000"),
        ("mkfs: out of space?", "image_too_big", "rootfs_partsize"),
        (
            "Checking 'gawk'... failed.\n\nBuild dependency: Please install GNU 'awk'\n\nPrerequisite check failed.",
            "host_tool_missing", "GNU 'awk'"
        ),
        (
            " * opkg_download: Failed to download https://x/Packages.gz, wget returned 4.", "build_network",
            "Network=online"
        ),
        ("Profile \"generik\" does not exist!\nUse \"make info\" …", "builder_profile_unknown", "generik"),
        ("cc1: fatal error: x\nmake[2]: *** [Makefile:3: x] Error 1", "build_failed", "cc1: fatal"),
        ("", "build_failed", "without a word"),
    ]

    @Test("that fails is explained by its log", arguments: failures)
    func failure(row: (log: String, code: String, hint: String)) {
        let error = BuildFailure.explain(log: row.log, isOnline: false, packages: ["tcpdump", "luci"])
        #expect(error.code == row.code)
        #expect("\(error)".contains(row.hint), "\(error)")
    }

    @Test("gets scripts for the first boot only where the profile asks for what the Image Builder cannot do")
    func scripts() {
        #expect(FirstBootScripts.scripts(for: Self.profile()).isEmpty)
        let owners = FirstBootScripts.scripts(
            for: Self.profile {
                $0.files = [
                    .init(source: "a", destination: "/etc/a"),
                    .init(source: "b", destination: "/etc/b", owner: "root:root"),
                    .init(source: "c", destination: "/etc/c", owner: "nobody:nogroup"),
                ]
            })
        #expect(owners.map(\.path) == ["etc/uci-defaults/95-flashing-station-owners"])
        #expect(owners[0].text.contains("chown -h nobody:nogroup '/etc/c'") && !owners[0].text.contains("/etc/b"))
        let resize = FirstBootScripts.scripts(for: Self.profile { $0.policies.autoResizeRootfs = true })
        #expect(resize.map(\.path) == ["etc/uci-defaults/96-flashing-station-resize"])
    }

    @Test("becomes an assignment only where it has an image for a card")
    func assignment() throws {
        var record = BuildRecord(
            sequence: 1, id: BuildID(), profileID: String(repeating: "p", count: 128), profileVersion: 1,
            triple: try BuilderTriple(release: "1", target: "t", subtarget: "s"), key: try Samples.digest("1"),
            builderSHA256: try Samples.digest("2"), state: .succeeded, startedAt: 1, wasClockSynchronised: true,
            callerUserID: nil)
        #expect(throws: StationError.self) { try record.assignment() }
        let witness = FileWitness(inode: 1, byteCount: 1, modifiedAt: 1, changedAt: 1)
        record.product = BuildProduct(
            artifacts: [], versionCode: "r", packageCount: 0, card: nil,
            cardRefusal: StationError("no_card_image", "none"), byteCount: 0)
        #expect { try record.assignment() } throws: { ($0 as? StationError)?.code == "no_card_image" }
        record.product?.card = CardImage(artifact: "a", sha256: try Samples.digest("3"), byteCount: 5, witness: witness)
        let assignment = try record.assignment()
        #expect(assignment.build == record.id && assignment.profile == record.profileID && assignment.byteCount == 5)
        #expect(assignment.image.text.hasSuffix(record.id.short))
        record.state = .failed
        #expect(throws: StationError.self) { try record.assignment() }
    }
}

@Suite("What is in the library")
struct LibraryHoldingsTests {
    @Test("goes over in parts, and comes together again", arguments: [0, 1, 399, 400, 401, 1300])
    func parts(count: Int) throws {
        let entries = (0..<count).map { LibraryHoldings.Entry(name: "\($0)", byteCount: UInt64($0)) }
        let whole = LibraryHoldings(
            images: entries, overlays: [], builders: Array(entries.prefix(3)), builds: entries,
            localKey: try Samples.digest("1"))
        let parts = whole.parts(entryCount: 400)
        #expect(parts.allSatisfy { $0.images.count + $0.builders.count + $0.builds.count <= 400 })
        var together = LibraryHoldings(images: [], overlays: [], builders: [], builds: [])
        for part in parts { together.add(part) }
        #expect(together == whole)
    }
}
