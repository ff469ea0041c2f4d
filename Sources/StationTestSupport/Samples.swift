package import StationCore

/// Values that many tests need and none cares about.
package enum Samples {
    package static let usbPlace = Place.usb(controller: "pci0000:00/0000:00:04.0", hubSpeed: 480, ports: "2", lun: 0)
    package static let mmcPlace = Place.mmc(controller: "platform/soc/fe340000.mmc")
    package static let reader = Reader(vendor: "0bda", product: "0326", lunCount: 1)

    /// A slot that takes cards of any size.
    package static func slot(
        _ name: String = "slot1", place: Place = usbPlace, reader: Reader = reader, wipe: WipeLevel = .signatures,
        atBoot: AtBoot = .wait, minimum: UInt64 = 1, maximum: UInt64 = 1 << 50
    ) throws -> SlotDeclaration {
        SlotDeclaration(
            name: try SlotName(name), place: place, reader: reader, wipe: wipe, atBoot: atBoot,
            minimumByteCount: minimum,
            maximumByteCount: maximum)
    }

    /// A card of 8 GB in the reader of `slot()`.
    package static func card(
        _ name: String = "sda", sequence: UInt64? = 10, byteCount: UInt64 = 8_000_000_000, place: Place? = usbPlace,
        reader: Reader? = reader
    ) -> DeviceRecord {
        DeviceRecord(
            name: name, devicePath: "/devices/test/block/\(name)", deviceSequence: sequence, byteCount: byteCount,
            place: place, reader: reader, model: "Test Reader")
    }

    /// A digest whose digits all are this one.
    package static func digest(_ digit: Character) throws -> SHA256Digest {
        guard let digest = SHA256Digest(String(repeating: digit, count: 64)) else {
            throw StationError("sha256_invalid", "\(digit) is no hexadecimal digit")
        }
        return digest
    }

    package static func assignment(_ image: String = "openwrt", digit: Character = "a") throws -> Assignment {
        Assignment(image: try ImageName(image), sha256: try digest(digit), byteCount: 120_000_000)
    }
}
