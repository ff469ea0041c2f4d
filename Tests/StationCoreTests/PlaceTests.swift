import StationCore
import StationTestSupport
import Testing

@Suite("A place")
struct PlaceTests {
    private static func speed(_ path: String) -> Int? {
        path.hasSuffix("usb1") || path.hasSuffix("usb3")
            ? 480 : path.hasSuffix("usb2") || path.hasSuffix("usb4") ? 5000 : nil
    }

    private static func place(_ path: String) -> Place? { Place.ofDisk(devicePath: path, hubSpeed: speed) }

    @Test(
        "is read from a device path",
        arguments: [
            (
                "/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda",
                "usb 480 port 2 lun 0 at pci0000:00/0000:00:04.0"
            ),
            (
                "/devices/pci0000:00/0000:00:04.0/usb2/2-2/2-2:1.0/host6/target6:0:0/6:0:0:3/block/sdd",
                "usb 5000 port 2 lun 3 at pci0000:00/0000:00:04.0"
            ),
            (
                "/devices/pci0000:00/0000:00:1c.4/0000:02:00.0/usb3/3-1/3-1.4/3-1.4.2/3-1.4.2:1.0/host7"
                    + "/target7:0:0/7:0:0:1/block/sdb",
                "usb 480 port 1.4.2 lun 1 at pci0000:00/0000:00:1c.4/0000:02:00.0"
            ),
            (
                "/devices/platform/dummy_hcd.0/usb1/1-1/1-1:1.0/host3/target3:0:0/3:0:0:0/block/sdc",
                "usb 480 port 1 lun 0 at platform/dummy_hcd.0"
            ),
            (
                "/devices/platform/soc/fe9c0000.xhci/xhci-hcd.0.auto/usb2/2-1/2-1:1.0/host0"
                    + "/target0:0:0/0:0:0:0/block/sda",
                "usb 5000 port 1 lun 0 at platform/soc/fe9c0000.xhci/xhci-hcd.auto"
            ),
            // A hub behind a hub behind a hub.
            (
                "/devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3.1/1-3.1.4/1-3.1.4.2/1-3.1.4.2:1.0/host9/target9:0:0"
                    + "/9:0:0:0/block/sdq",
                "usb 480 port 3.1.4.2 lun 0 at pci0000:00/0000:00:14.0"
            ),
            // SD hosts on USB (rtsx_usb) and on PCI (rtsx_pci).
            (
                "/devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/rtsx_usb_sdmmc.1.auto/mmc_host/mmc0/mmc0:aaaa"
                    + "/block/mmcblk0",
                "usb 480 port 4 lun 0 at pci0000:00/0000:00:14.0"
            ),
            (
                "/devices/pci0000:00/0000:00:1c.0/0000:02:00.0/rtsx_pci_sdmmc.0/mmc_host/mmc0/mmc0:0001/block/mmcblk0",
                "mmc at pci0000:00/0000:00:1c.0/0000:02:00.0/rtsx_pci_sdmmc.0"
            ),
            (
                "/devices/platform/soc/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
                "mmc at platform/soc/fe340000.mmc"
            ),
            (
                "/devices/pci0000:00/0000:00:05.0/mmc_host/mmc1/mmc1:4567/block/mmcblk1",
                "mmc at pci0000:00/0000:00:05.0"
            ),
        ])
    func known(path: String, text: String) throws {
        let place = try #require(Self.place(path))
        #expect(place.description == text)
        #expect(try Place(text: text) == place)
    }

    @Test("is the same for whatever disk name, host number and card number")
    func stable() {
        let path = "/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda"
        let later = "/devices/pci0000:00/0000:00:04.0/usb3/3-2/3-2:1.0/host19/target19:0:0/19:0:0:0/block/sdaa"
        #expect(Self.place(path) == Self.place(later))
        #expect(
            Self.place("/devices/platform/x.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0")
                == Self.place("/devices/platform/x.mmc/mmc_host/mmc3/mmc3:0001/block/mmcblk7"))
        let onUSB = "/devices/x/usb1/1-4/1-4:1.0/rtsx_usb_sdmmc.1.auto/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0"
        let later2 = "/devices/x/usb1/1-4/1-4:1.0/rtsx_usb_sdmmc.7.auto/mmc_host/mmc2/mmc2:0007/block/mmcblk1"
        #expect(Self.place(onUSB) != nil && Self.place(onUSB) == Self.place(later2))
    }

    @Test("leaves out numbers that the kernel counts out, and no others")
    func countedNumbers() throws {
        for (path, stable) in [
            ("platform/a/xhci-hcd.12.auto", "platform/a/xhci-hcd.auto"), ("a/xhci-hcd.auto", "a/xhci-hcd.auto"),
            ("a/x.0", "a/x.0"), ("a/x.1f.auto", "a/x.1f.auto"), ("a/.3.auto", "a/.auto"), ("a/3.auto", "a/3.auto"),
            ("b.1.auto/c.2.auto", "b.auto/c.auto"), ("a/x.0.1.auto", "a/x.auto"),
        ] {
            #expect(try Place(text: "mmc at \(path)") == .mmc(controller: stable))
        }
    }

    @Test("knows the other side of its port, if the kernel does")
    func otherSides() throws {
        let controller = "/devices/pci0000:00/0000:00:14.0"
        let disk = "\(controller)/usb1/1-7/1-7.2/1-7.2:1.0/host6/target6:0:0/6:0:0:3/block/sdd"
        let place = try #require(Self.place(disk))
        func other(_ target: String?) -> String? {
            place.otherSide(
                devicePath: disk,
                peer: { $0 == "\(controller)/usb1/1-0:1.0/usb1-port7" ? target : nil }, hubSpeed: Self.speed)?
                .description
        }
        #expect(
            other("../../../usb2/2-0:1.0/usb2-port3") == "usb 5000 port 3.2 lun 3 at pci0000:00/0000:00:14.0")
        for target in [
            nil, "", "usb2-port", "usb2-portx", "usb2", "2-port3", "usb2-port3-1", "../../../usb3/3-0:1.0/usb3-port3",
            "usb9-port1",
        ] {
            #expect(other(target) == nil, "\(target ?? "no link")")
        }
        #expect(Samples.mmcPlace.otherSide(devicePath: disk, peer: { _ in "usb2-port3" }, hubSpeed: Self.speed) == nil)
        #expect(place.speedTitle == "USB 2 (480 Mbit/s)" && Samples.mmcPlace.speedTitle == nil)
        #expect(try Place(text: "usb 10000 port 1 lun 0 at x").speedTitle == "USB 3 (10000 Mbit/s)")
        #expect(try Place(text: "usb 12 port 1 lun 0 at x").speedTitle == "USB 1 (12 Mbit/s)")
    }

    @Test(
        "is none for disks elsewhere and for paths that are none",
        arguments: [
            "", "/", "/devices", "/devices/virtual/block/loop0", "/devices/pci0000:00/0000:00:01.1/nvme/nvme0/nvme0n1",
            "/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda",
            "/devices/pci0000:00/0000:00:05.0/virtio2/block/vda",
            // A partition.
            "/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda/sda1",
            // Parts of a soldered chip.
            "/devices/platform/x.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0boot0",
            // The root hub's speed is not known.
            "/devices/pci0000:00/0000:00:04.0/usb9/9-2/9-2:1.0/host6/target6:0:0/6:0:0:0/block/sda",
            // No SCSI address, no port, no controller.
            "/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0/block/sda",
            // A logical unit that a slot file could not name.
            "/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:256/block/sda",
            "/devices/pci0000:00/0000:00:04.0/usb1/host6/target6:0:0/6:0:0:0/block/sda",
            "/devices/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda",
            "/devices/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0",
            // Parts of a soldered chip behind USB, and an SD host at no port.
            "/devices/x/usb1/1-4/1-4:1.0/rtsx_usb_sdmmc.1.auto/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0boot0",
            "/devices/x/usb1/rtsx_usb_sdmmc.1.auto/mmc_host/mmc0/mmc0:0001/block/mmcblk0",
            "/devices/x/usb1/1-4/1-4:1.0/mmc_host/mmc0/block/mmcblk0",
            "/devices/x/usb1/1-2.x/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda",
            "/devices/x/usb1/1-2...3/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda",
            "/devices/x/usb1/1-99999999999999999999/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda",
            "/elsewhere/pci0000:00/0000:00:04.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda",
        ])
    func unknown(path: String) {
        #expect(Self.place(path) == nil)
    }

    @Test("is read from random paths without harm", arguments: 0..<5)
    func random(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let parts = [
            "devices", "usb1", "usb", "usb-1", "1-2", "1-2.3", "-", "1-", "block", "sda", "6:0:0:0", "::", ":", "host6",
            "host",
            "mmc_host", "mmc0", "rtsx_usb_sdmmc.1.auto", "mmc0:aaaa", "", "..", "\u{202E}", "target6:0:0", "platform",
        ]
        for _ in 0..<3000 {
            let path =
                "/"
                + (0..<Int.random(in: 0...12, using: &random)).map { _ in parts.randomElement(using: &random) ?? "" }
                .joined(separator: "/")
            _ = Place.readerPath(ofDisk: path)
            _ = Place.scsiHostPath(ofDisk: path)
            if let place = Place.ofDisk(devicePath: path, hubSpeed: { _ in 480 }) {
                #expect(!place.description.isEmpty)
                _ = place.otherSide(devicePath: path, peer: { $0 }, hubSpeed: { _ in 5000 })
            }
        }
    }

    @Test("knows where its reader and its host are in the path")
    func neighbours() {
        let path = "/devices/x/usb1/1-1/1-1.4/1-1.4:1.0/host7/target7:0:0/7:0:0:1/block/sdb"
        #expect(Place.readerPath(ofDisk: path) == "/devices/x/usb1/1-1/1-1.4")
        #expect(Place.scsiHostPath(ofDisk: path) == "/devices/x/usb1/1-1/1-1.4/1-1.4:1.0/host7")
        #expect(Place.readerPath(ofDisk: "/devices/virtual/block/loop0") == nil)
        #expect(Place.scsiHostPath(ofDisk: "/devices/virtual/block/loop0") == nil)
    }

    @Test("shares its reader with the other logical units")
    func logicalUnits() throws {
        let first = try Place(text: "usb 480 port 2 lun 0 at x")
        let second = try Place(text: "usb 480 port 2 lun 3 at x")
        #expect(first != second)
        #expect(first.withoutLUN == second.withoutLUN)
        #expect(Samples.mmcPlace.withoutLUN == Samples.mmcPlace)
    }

    @Test(
        "has no other text",
        arguments: [
            "", "usb", "usb 480 port 2 lun 0", "usb 480 port 2 lun 0 at", "usb 480 port 2 lun 0 at x y",
            "usb 0 port 2 lun 0 at x",
            "usb -1 port 2 lun 0 at x", "usb 480 port 2. lun 0 at x", "usb 480 port .2 lun 0 at x",
            "usb 480 port 2..3 lun 0 at x",
            "usb 480 port 1.2.3.4.5.6.7.8.9 lun 0 at x", "usb 480 port 2 lun 256 at x", "usb 480 port 2 lun -1 at x",
            "usb 480 port 2 lun 0 at /x", "usb 480 port 2 lun 0 at x/", "usb 480 port 2 lun 0 at x//y",
            "usb 480 port 2 lun 0 at ../x", "usb 480 port 2 lun 0 at x/./y", "usb 480 port 2 lun 0 at ä", "mmc",
            "mmc at",
            "mmc at ..", "mmc at a\\", "mmc at a b", "MMC at x", "usb 480 port ２ lun 0 at x",
        ])
    func badText(text: String) {
        let error = #expect(throws: StationError.self) { try Place(text: text) }
        #expect(error?.code == "place_invalid")
        #expect(error?.remedy.isEmpty == false)
    }
}

@Suite("A reader")
struct ReaderTests {
    @Test("is read as it is written", arguments: ["0bda:0326 luns 1", "ffff:0000 luns 64", "mmc"])
    func roundTrip(text: String) throws {
        #expect(try Reader(text: text).description == text)
    }

    @Test(
        "has no other text",
        arguments: [
            "", "0bda:0326", "0bda:0326 luns", "0bda:0326 luns 0", "0bda:0326 luns 65", "0bda:0326 luns x",
            "0BDA:0326 luns 1",
            "bda:0326 luns 1", "0bda0326 luns 1", "0bda:0326:1 luns 1", "mmc luns 1", "MMC", "0bda:032g luns 1",
        ])
    func badText(text: String) {
        let error = #expect(throws: StationError.self) { try Reader(text: text) }
        #expect(error?.code == "reader_invalid")
    }
}
