import Glibc
package import StationCore

/// What sysfs says of block devices. Daemon, writer and udev helper read it through here, so that they agree on what is where.
package enum Sysfs {
    /// More than one look at a device needs at a time.
    private static let descriptorCount = 8

    /// Whether there are file descriptors to look with. Without, everything looks as if it were not there.
    package static var canBeRead: Bool {
        // All at once: each is closed when the array goes.
        let opened = (0..<descriptorCount).map { _ in try? Descriptor(opening: "/sys", O_RDONLY | O_DIRECTORY) }
        return opened.allSatisfy { $0 != nil }
    }

    /// The record of one block device, read now.
    /// - Parameter devicePath: below `/sys`, beginning with `/devices/`.
    /// - Returns: nil when the device is not there (any more).
    package static func record(devicePath: String) -> DeviceRecord? {
        let directory = "/sys" + devicePath
        guard let name = devicePath.split(separator: "/").last.map(String.init),
            let sectors = SmallFile.attribute(directory + "/size").flatMap({ UInt64($0) })
        else { return nil }
        let isPartition = SmallFile.attribute(directory + "/partition") != nil
        let hubSpeed: (String) -> Int? = { SmallFile.attribute("/sys\($0)/speed").flatMap { Int($0) } }
        let place = isPartition ? nil : Place.ofDisk(devicePath: devicePath, hubSpeed: hubSpeed)
        let isMMC = name.hasPrefix("mmcblk")
        return DeviceRecord(
            name: name, devicePath: devicePath, isWholeDisk: !isPartition,
            deviceSequence: SmallFile.attribute(directory + "/diskseq").flatMap { UInt64($0) },
            // Always in units of 512, whatever the sectors are.
            byteCount: sectors.multipliedReportingOverflow(by: 512).partialValue,
            isReadOnly: SmallFile.attribute(directory + "/ro") == "1", place: place,
            otherSide: place?.otherSide(
                devicePath: devicePath, peer: { SmallFile.link("/sys\($0)/peer") }, hubSpeed: hubSpeed),
            reader: place.flatMap { reader(ofDisk: devicePath, at: $0) },
            model: model(directory),
            cardID: isMMC ? SmallFile.attribute(directory + "/device/cid")?.printable(limit: 32) : nil,
            cardType: isMMC ? SmallFile.attribute(directory + "/device/type")?.printable(limit: 8) : nil)
    }

    /// The path below `/sys` of a block device by its kernel name; nil when there is none.
    package static func devicePath(ofBlockDevice name: String) -> String? {
        guard !name.isEmpty, !name.contains("/"), name != ".", name != "..",
            let target = SmallFile.link("/sys/class/block/\(name)"),
            let devices = target.range(of: "devices/")
        else { return nil }
        return "/" + target[devices.lowerBound...]
    }

    /// Records of all whole disks.
    package static func allDisks() -> [DeviceRecord] {
        (SmallFile.names(in: "/sys/class/block") ?? []).compactMap { name in
            devicePath(ofBlockDevice: name).flatMap { record(devicePath: $0) }
        }.filter(\.isWholeDisk)
    }

    /// The device number of a block device as sysfs has it: `8:0`.
    package static func number(devicePath: String) -> String? { SmallFile.attribute("/sys\(devicePath)/dev") }

    private static func reader(ofDisk devicePath: String, at place: Place) -> Reader? {
        if place.isMMC { return .mmcHost }
        guard let device = Place.readerPath(ofDisk: devicePath),
            let vendor = SmallFile.attribute("/sys\(device)/idVendor"),
            let product = SmallFile.attribute("/sys\(device)/idProduct")
        else { return nil }
        // An SD host that is a USB device has one card and no logical units.
        let count = Place.scsiHostPath(ofDisk: devicePath).map { logicalUnitCount(ofHost: $0) } ?? 1
        return Reader(vendor: vendor.printable(limit: 8), product: product.printable(limit: 8), lunCount: count)
    }

    private static func logicalUnitCount(ofHost path: String) -> Int {
        (SmallFile.names(in: "/sys" + path) ?? []).filter { $0.hasPrefix("target") }
            .flatMap { (target: String) -> [String] in SmallFile.names(in: "/sys\(path)/\(target)") ?? [] }
            .count { $0.split(separator: ":").count == 4 }
    }

    private static func model(_ directory: String) -> String {
        let parts = ["vendor", "model", "name"].compactMap { SmallFile.attribute("\(directory)/device/\($0)") }
        return parts.filter { !$0.isEmpty && !$0.hasPrefix("0x") }.joined(separator: " ").printable(limit: 60)
    }
}

extension String {
    /// Where a text begins; nil when it does not occur.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
