import FoundationEssentials
import StationCore

@testable import StationLinux

extension FuzzTarget {
    /// What root writes, and what the kernel says of disks and of what uses them.
    static let declarationTargets = [
        FuzzTarget(
            "slot-file", lengthLimit: 2048,
            words: [
                "[Slot]\n", "Place=", "Reader=", "Wipe=", "Mode=", "AtBoot=", "CardType=", "MinimumSize=",
                "MaximumSize=", "Light=", "FailureLight=", "usb 480 port 2 lun 0 at pci0000:00", "mmc at platform/soc",
                "0bda:0326 luns 1",
                "signatures", "discard", "zero", "update", "led:", "gpio:", ":active-low", "\\\n", "\r\n", "#",
            ]
        ) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            let name = try SlotName("slot1")
            _ = SlotDeclaration.placesNamed(in: text)
            guard
                let slot = try accepted({
                    try SlotDeclaration(name: name, fileName: "slot1.slot", text: text)
                })
            else { return }
            try demandKept(slot)
            try demand(slot.minimumByteCount <= slot.maximumByteCount, "a slot takes no card of any size")
            _ = SlotLights.problems([slot, slot])
        },
        FuzzTarget(
            "station-conf", lengthLimit: 2048,
            words: [
                "[Station]\n", "[Guard]\n", "[ImageBuilder]\n", "[Build]\n", "https://", "require", "64G", "online",
                "\"", "\\\n",
            ]
                + StationConfiguration.keys.map { "\($0)=" }
        ) { bytes in
            var configuration = StationConfiguration()
            // The file and its drop-ins, with a zero between them.
            let files = bytes.split(separator: 0, omittingEmptySubsequences: false)
            let isGood = try accepted {
                for file in files {
                    let text = String(decoding: file, as: UTF8.self)
                    try configuration.apply(KeyValueFile(name: "station.conf", text: text))
                }
                return true
            }
            // As far as it was applied: a drop-in takes no protection away.
            try demand(configuration.protectedLabels.contains("OURBOX_DATA"), "a label is not protected any more")
            guard isGood == true else { return }
            try demand(
                configuration.storageLimit > 0 && configuration.stuckAfterSeconds >= 2
                    && configuration.stopPatienceSeconds.isFinite && configuration.bootSettleSeconds.isFinite
                    && (1...64).contains(configuration.parallelBuilds) && !configuration.builderSource.mirrors.isEmpty
                    && configuration.buildLimits.seconds >= 10 && configuration.buildLimits.seconds <= 86_400,
                "a value is outside of its range")
            for root in configuration.exportRoots {
                try demand(root.utf8.first == UInt8(ascii: "/"), "an export directory is no absolute path")
                try demandInside(Array(root.utf8.dropFirst()))
            }
            try demandSameAsJSON(configuration)
        },
        FuzzTarget(
            "sysfs-path", lengthLimit: 512,
            words: [
                "/devices/", "pci0000:00/0000:00:04.0/", "usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda", "usb",
                "/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0", "platform/soc/fe340000.mmc", "xhci-hcd.0.auto", "/block/",
                "usb2-port1", "\n480\n", "\n5000\n",
            ]
        ) { bytes in
            // A device's path, its root hub's speed, and the other side of its port.
            let lines = bytes.split(separator: 0x0A, maxSplits: 2, omittingEmptySubsequences: false)
                .map { String(decoding: $0, as: UTF8.self) }
            let path = lines[0]
            let speed = lines.count > 1 ? Int(lines[1]) : nil
            let reader = Place.readerPath(ofDisk: path)
            _ = Place.scsiHostPath(ofDisk: path)
            guard let place = Place.ofDisk(devicePath: path, hubSpeed: { _ in speed }) else { return }
            let other = place.otherSide(
                devicePath: path, peer: { _ in lines.count > 2 ? lines[2] : nil },
                hubSpeed: { _ in speed.map { $0 == 480 ? 5000 : 480 } })
            if case .usb = place { try demand(reader != nil, "a disk on USB has no reader") }
            // Whatever `slot learn` writes down must be the place that it saw; the kernel's names have no spaces in them.
            guard speed.map({ $0 > 0 }) ?? true, path.utf8.allSatisfy({ (33...126).contains($0) && $0 != 0x5C }),
                path.utf8.count < 500, !path.split(separator: "/").contains(where: { $0 == "." || $0 == ".." })
            else { return }
            for place in [place, other].compactMap({ $0 }) {
                try demandKept(
                    SlotDeclaration(
                        name: try SlotName("slot1"), place: place,
                        reader: place.isMMC ? .mmcHost : Reader(vendor: "0bda", product: "0326", lunCount: 1)))
            }
        },
        FuzzTarget(
            "eligibility", lengthLimit: 4096,
            words: [
                "\"record\":", "\"slots\":", "\"devices\":", "\"name\":", "\"place\":", "\"reader\":", "\"byteCount\":",
                "\"isWholeDisk\":", "\"deviceSequence\":", "\"isReadOnly\":", "\"cardType\":", "\"mmcblk0boot0\"",
                "true",
                "false", "null",
            ]
        ) { bytes in
            struct Scene: Decodable {
                var record: DeviceRecord
                var slots: [SlotDeclaration]
                var devices: [DeviceRecord]
            }
            guard let scene = try accepted({ try JSONDecoder().decode(Scene.self, from: Data(bytes)) }) else { return }
            let record = scene.record
            for slot in scene.slots { _ = Eligibility.isOtherSide(of: slot, record) }
            guard case .card(let name) = Eligibility.decide(record, slots: scene.slots, devices: scene.devices) else {
                return
            }
            // All that must be so of what is written, in other words than the decision's own.
            let claims = scene.slots.filter { $0.place == record.place }
            try demand(claims.count == 1 && claims[0].name == name, "a card is in a place of no slot, or of two")
            try demand(record.isWholeDisk && !record.isReadOnly, "what cannot be written whole is a card")
            try demand(record.deviceSequence != nil, "a card cannot be told from the next")
            try demand(record.reader == claims[0].reader, "another reader's card is the slot's")
            try demand(
                record.byteCount > 0 && record.byteCount >= claims[0].minimumByteCount
                    && record.byteCount <= claims[0].maximumByteCount, "a card of another size is the slot's")
            try demand(
                !record.name.hasPrefix("mmcblk") || record.name.dropFirst(6).utf8.allSatisfy { (48...57).contains($0) },
                "a part of a soldered chip is a card")
        },
        FuzzTarget(
            "mounts", lengthLimit: 1024,
            words: [
                "36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw", "\\040", " - ",
                "/dev/sda2 partition 1 0 -2\n",
            ]
        ) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            for line in text.split(separator: "\n" as Character) {
                guard let mount = DiskTopology.mount(line: line) else { continue }
                try demand(!mount.number.contains(" "), "a device number has a space in it")
            }
            _ = DiskTopology.swapDevices(text)
            let plain = text.filter { $0 != "\\" }
            try demand(DiskTopology.unescaped(plain) == plain, "a text without escapes is another without them")
        },
    ]
}

/// What a slot's file says is what it was written from, and declares its place to whoever only looks for that.
private func demandKept(_ slot: SlotDeclaration) throws {
    let text = slot.fileText
    let again = try? SlotDeclaration(name: slot.name, fileName: "slot1.slot", text: text)
    try demand(again == slot, "a slot file says something else when it is read again: \(text.printable(limit: 2000))")
    try demand(SlotDeclaration.placesNamed(in: text) == [slot.place], "a slot file does not name its place")
}

/// A value is the same after a way through JSON.
func demandSameAsJSON<Value: Codable & Equatable>(_ value: Value) throws {
    guard let data = try? JSONEncoder().encode(value) else {
        throw Violation(description: "\(Value.self) cannot be written as JSON")
    }
    let again = try? JSONDecoder().decode(Value.self, from: data)
    try demand(again == value, "\(Value.self) is another when it is read again")
}
