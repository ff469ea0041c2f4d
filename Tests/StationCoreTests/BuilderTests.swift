import FoundationEssentials
import StationCore
import StationTestSupport
import Testing

/// Genuine files in `Tests/Fixtures/openwrt`.
enum Genuine {
    static func text(_ name: String) throws -> String {
        let tests = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
        return String(
            decoding: try Data(contentsOf: URL(filePath: "/\(tests)/Fixtures/openwrt/\(name)")), as: UTF8.self)
    }

    static func overview(_ name: String) throws -> ImagesOverview {
        try ImagesOverview(
            JSONDecoder().decode(JSONValue.self, from: Data(try text("profiles-\(name).json").utf8)))
    }
}

@Suite("An Image Builder")
struct BuilderTests {
    @Test("is named as OpenWrt's server names it")
    func names() throws {
        let release = try BuilderTriple(release: "24.10.2", target: "bcm27xx", subtarget: "bcm2711")
        #expect(release.serverPath == "releases/24.10.2/targets/bcm27xx/bcm2711")
        #expect(release.archiveStem == "openwrt-imagebuilder-24.10.2-bcm27xx-bcm2711.Linux-x86_64")
        let snapshot = try BuilderTriple(release: "snapshot", target: "x86", subtarget: "64")
        #expect(snapshot.serverPath == "snapshots/targets/x86/64")
        #expect(snapshot.archiveStem == "openwrt-imagebuilder-x86-64.Linux-x86_64")
        let branch = try BuilderTriple(release: "23.05-SNAPSHOT", target: "x86", subtarget: "64")
        #expect(branch.isSnapshot && branch.serverPath == "releases/23.05-SNAPSHOT/targets/x86/64")
    }

    @Test(
        "is never named by what leads elsewhere",
        arguments: ["", "..", "../x", "a/b", "$(id)", "a b", "-x", "a\nb", String(repeating: "a", count: 100)])
    func badNames(text: String) {
        #expect(throws: StationError.self) { try BuilderTriple(release: text, target: "x86", subtarget: "64") }
        #expect(throws: StationError.self) { try BuilderTriple(release: "24.10.2", target: text, subtarget: "64") }
        #expect(throws: StationError.self) { try BuilderTriple(release: "24.10.2", target: "x86", subtarget: text) }
    }

    @Test("says what it can build in make info, as a genuine one did")
    func info() throws {
        let info = try BuilderInfo(parsing: Genuine.text("make-info-24.10.2-ath79-nand.txt"))
        #expect(info.target == "ath79/nand" && info.architecture == "mips")
        #expect(info.revision == "r28739-d9340319c6" && info.defaultPackages.prefix(2) == ["base-files", "ca-bundle"])
        #expect(
            info.profiles == [
                BuilderProfile(
                    name: "netgear_wndr3700-v4", title: "NETGEAR WNDR3700 v4",
                    packages: ["kmod-usb2", "kmod-usb-ledtrig-usbport"], hasImageMetadata: true,
                    supportedDevices: ["netgear,wndr3700-v4"])
            ])
    }

    @Test(
        "whose make info makes no sense is not believed",
        arguments: [
            "", "Available Profiles:\n\na:\n",
            "Current Target: \"x86/64\"\nCurrent Revision: \"r1\"\nAvailable Profiles:\n",
            "Current Target: \"../x\"\nCurrent Revision: \"r1\"\nAvailable Profiles:\n\na:\n",
            "Current Target: \"x86/64\"\nAvailable Profiles:\n\na:\n",
            "Current Target: \"x86/64\"\nCurrent Revision: \"r1\"\nAvailable Profiles:\n\n$(id):\n",
        ])
    func badInfo(text: String) {
        #expect { try BuilderInfo(parsing: text) } throws: { ($0 as? StationError)?.code == "builder_info_invalid" }
    }
}

/// The table was made by reading the files and OpenWrt's pages of the devices.
@Suite("The image for a card")
struct CardImageChoiceTests {
    static let chosen: [(file: String, device: String, filesystem: Profile.Filesystem?, name: String)] = [
        // Its profiles.json lists squashfs first of the two.
        ("23.05.4-x86-64", "generic", nil, "openwrt-23.05.4-x86-64-generic-squashfs-combined-efi.img.gz"),
        ("23.05.4-x86-64", "generic", .ext4, "openwrt-23.05.4-x86-64-generic-ext4-combined-efi.img.gz"),
        ("23.05.4-x86-64", "generic", .squashfs, "openwrt-23.05.4-x86-64-generic-squashfs-combined-efi.img.gz"),
        ("23.05.4-bcm27xx-bcm2711", "rpi-4", .ext4, "openwrt-23.05.4-bcm27xx-bcm2711-rpi-4-ext4-factory.img.gz"),
        (
            "23.05.4-bcm27xx-bcm2711", "rpi-4", .squashfs,
            "openwrt-23.05.4-bcm27xx-bcm2711-rpi-4-squashfs-factory.img.gz"
        ),
        ("19.07.10-brcm2708-bcm2708", "rpi", .ext4, "openwrt-19.07.10-brcm2708-bcm2708-rpi-ext4-factory.img.gz"),
        (
            "23.05.4-rockchip-armv8", "friendlyarm_nanopi-r4s", .squashfs,
            "openwrt-23.05.4-rockchip-armv8-friendlyarm_nanopi-r4s-squashfs-sysupgrade.img.gz"
        ),
        (
            "23.05.4-sunxi-cortexa7", "xunlong_orangepi-zero", .ext4,
            "openwrt-23.05.4-sunxi-cortexa7-xunlong_orangepi-zero-ext4-sdcard.img.gz"
        ),
        // It has no file system of its own, and fits any wish.
        (
            "23.05.4-mediatek-filogic", "bananapi_bpi-r3", .ext4,
            "openwrt-23.05.4-mediatek-filogic-bananapi_bpi-r3-sdcard.img.gz"
        ),
    ]

    @Test("is the one that is made for it, in genuine builds", arguments: chosen)
    func choice(row: (file: String, device: String, filesystem: Profile.Filesystem?, name: String)) throws {
        let images = try #require(try Genuine.overview(row.file).images[row.device])
        let image = try CardImageChoice.choose(from: images, device: row.device, filesystem: row.filesystem)
        #expect(image.name == row.name)
    }

    @Test("is there for every device of these targets", arguments: ["rockchip-armv8", "sunxi-cortexa7"])
    func everyDevice(target: String) throws {
        for (device, images) in try Genuine.overview("23.05.4-\(target)").images {
            _ = try CardImageChoice.choose(from: images, device: device, filesystem: .squashfs)
        }
    }

    @Test("is not there for devices with a flash memory of their own")
    func none() throws {
        let nand = try Genuine.overview("23.05.4-ath79-nand")
        let filogic = try Genuine.overview("23.05.4-mediatek-filogic")
        // Those of filogic that boot from a card: MediaTek's reference boards, too.
        let cards: Set = ["bananapi_bpi-r3", "mediatek_mt7981-rfb", "mediatek_mt7988a-rfb"]
        let others = filogic.images.filter { !cards.contains($0.key) }
        for (device, images) in nand.images.merging(others, uniquingKeysWith: { $1 }) {
            #expect(throws: StationError.self, "\(device)") {
                try CardImageChoice.choose(from: images, device: device, filesystem: nil)
            }
        }
    }

    @Test("with another file system than there is, is refused by name")
    func filesystem() throws {
        let image = ImagesOverview.Image(
            name: "a-squashfs-sdcard.img.gz", type: "sdcard", filesystem: "squashfs", sha256: try Samples.digest("a"))
        #expect { try CardImageChoice.choose(from: [image], device: "a", filesystem: .ext4) } throws: { error in
            (error as? StationError)?.remedy.contains("squashfs") == true
        }
    }

    @Test(
        "is never what is for other memories",
        arguments: [
            ("emmc-gpt.bin", "x-emmc-gpt.bin"), ("emmc.img.gz", "x-emmc.img.gz"), ("rootfs", "x-rootfs.img.gz"),
            ("sysupgrade", "x-sysupgrade.bin"), ("sysupgrade", "x-sysupgrade.itb"), ("factory", "x-factory.bin"),
            ("factory", "x-factory.img"),
            ("kernel", "x-kernel.bin"), ("combined", "x-combined.vmdk"),
        ])
    func never(row: (type: String, name: String)) throws {
        let image = ImagesOverview.Image(
            name: row.name, type: row.type, filesystem: nil, sha256: try Samples.digest("a"))
        #expect(throws: StationError.self) { try CardImageChoice.choose(from: [image], device: "a", filesystem: nil) }
    }

    @Test(
        "of a profiles.json that was tampered with is not looked at", arguments: ["../x", "a/b", "", "a b", "a\u{1B}c"])
    func tampered(name: String) throws {
        let document = JSONValue.object([
            "target": .string("a/b"), "version_code": .string("r1"),
            "profiles": .object([
                "x": .object([
                    "images": .array([
                        .object([
                            "name": .string(name), "type": .string("sdcard"),
                            "sha256": .string(String(repeating: "a", count: 64)),
                        ])
                    ])
                ])
            ]),
        ])
        #expect { try ImagesOverview(document) } throws: { ($0 as? StationError)?.code == "overview_invalid" }
    }
}
