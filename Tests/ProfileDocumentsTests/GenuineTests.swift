import ProfileDocuments
import StationCore
import StationLinux
import Testing

@Suite("Genuine profiles")
struct GenuineTests {
    static let documented = [
        "home.ap-livingroom.23.05", "lab.router1.snapshot", "home.ap-bedroom.23.05", "lab.router1.extended",
    ]
    static let files = [
        "home-ap-livingroom": "home.ap-livingroom.23.05", "lab-router1-snapshot": "lab.router1.snapshot",
        "home-ap-bedroom": "home.ap-bedroom.23.05", "lab-router1-extended": "lab.router1.extended",
    ]

    private func read(_ path: String) throws -> Profile {
        let reading = ProfileFile.read(path)
        guard let profile = reading.profile else { throw reading.error }
        return profile
    }

    @Test("the schema's examples and the files they tell of are the same", arguments: files.keys.sorted())
    func examples(file: String) throws {
        let id = Self.files[file] ?? ""
        let inFile = try read("\(ProfileBench.genuine)/profiles/\(file).yaml")
        let inText = try read("\(ProfileBench.genuine)/\(id).yaml")
        #expect(inFile.profileID == id)
        #expect(inFile.differences(from: inText).isEmpty)
    }

    @Test("a version without quotes is a text")
    func version() throws {
        let profile = try read("\(ProfileBench.genuine)/home.ap-bedroom.23.05.yaml")
        #expect(profile.tags == ["home", "ap", "wifi", "23.05", "bedroom"])
    }

    @Test("the JSON example is its YAML twin, but for the description that it leaves out")
    func twins() throws {
        var yaml = try read("\(ProfileBench.genuine)/home.ap-livingroom.23.05.yaml")
        let json = try read("\(ProfileBench.genuine)/home.ap-livingroom.23.05.json")
        #expect(json.differences(from: yaml).map(\.field) == ["description"])
        yaml.description = nil
        #expect(json == yaml && json.digest == yaml.digest)
    }

    @Test("every field of the extended example arrives")
    func extended() throws {
        let profile = try read("\(ProfileBench.genuine)/profiles/lab-router1-extended.yaml")
        #expect(profile.name == "Lab Router 1 (Extended Image Options)" && profile.deviceID == "lab-router1")
        #expect(
            profile.description?.hasPrefix("Example profile demonstrating Image Builder options like BIN_DIR, EXTRA")
                == true)
        #expect(
            profile.release == "23.05.2" && profile.target == "ramips" && profile.subtarget == "mt7621"
                && !profile.isSnapshot)
        #expect(
            profile.packages == ["luci", "nano", "openvpn-openssl"]
                && profile.packagesRemove == ["ppp", "ppp-mod-pppoe"])
        #expect(profile.overlayDirectory == "profiles/overlays/lab-router1" && profile.files.isEmpty)
        #expect(profile.policies.filesystem == .ext4 && profile.policies.includeKernelSymbols == true)
        #expect(profile.policies.stripDebug == false && profile.policies.allowSnapshot == nil)
        #expect(profile.buildDefaults.rebuildIfCached == true && profile.buildDefaults.initramfs == false)
        #expect(profile.binDirectory == "/var/tmp/openwrt-images/lab" && profile.extraImageName == "lab-debug")
        #expect(profile.disabledServices == ["dnsmasq", "firewall", "odhcpd"])
        #expect(profile.rootfsPartitionMebibytes == 256 && profile.addLocalKey == true)
    }

    static let shipped = (SmallFile.names(in: ProfileBench.project + "/profiles") ?? []).filter {
        $0.hasSuffix(".yaml")
    }

    @Test("eight profiles are shipped")
    func count() { #expect(Self.shipped.count == 8) }

    @Test("what is shipped is good, in all three formats, and its files are there", arguments: shipped)
    func isGood(name: String) throws {
        let folder = ProfileBench.project + "/profiles"
        let stem = String(name.dropLast(5))
        let yaml = try read("\(folder)/\(name)")
        var digests: Set<SHA256Digest> = []
        for path in ["\(folder)/\(name)", "\(folder)/json/\(stem).json", "\(folder)/toml/\(stem).toml"] {
            let profile = try read(path)
            #expect(profile == yaml)
            let sources = ProfileSources.gather(profile, file: path)
            #expect(sources.violations.isEmpty, "\(sources.violations.map(\.text))")
            digests.insert(try OverlayArchive.digest(of: try #require(sources.overlay)))
        }
        #expect(digests.count == 1)
    }

    @Test("the schema's four are shipped as they are", arguments: files.keys.sorted())
    func shippedAsTheyAre(file: String) throws {
        let genuine = try SmallFile.read("\(ProfileBench.genuine)/profiles/\(file).yaml")
        #expect(try SmallFile.read("\(ProfileBench.project)/profiles/\(file).yaml") == genuine)
    }
}
