/// Where a slot is: a position on a bus, never a name that a card or a reader chooses.
///
/// Its text form is what slot files hold:
/// `usb 480 port 2.3.1 lun 0 at pci0000:00/0000:00:04.0` or `mmc at platform/soc/fe340000.mmc`.
package enum Place: Hashable, TextCoded, Sendable {
    /// A USB port behind one root hub: of a reader with its logical units, or of an SD host that is itself a USB device.
    /// - Parameters:
    ///   - controller: the host controller's path below `/sys/devices`; a number that the kernel counted out on the way
    ///     (`xhci-hcd.0.auto`) is left out, for it depends on the order in which drivers came up.
    ///   - hubSpeed: the root hub's speed in Mbit/s, which tells the USB 2 from the USB 3 side of one port.
    ///   - ports: the chain of port numbers from the root hub, such as `2.3.1`.
    ///   - lun: the logical unit: one per slot in a reader with several, 0 for an SD host.
    case usb(controller: String, hubSpeed: Int, ports: String, lun: Int)
    /// An MMC host that is soldered in or sits on PCI.
    /// - Parameter controller: the host's parent device below `/sys/devices`, named as that of `usb`.
    case mmc(controller: String)

    /// The place of a disk, from the path of its device below `/sys` and the speed of its root hub.
    ///
    /// The one function that daemon, writer and udev helper share. Nil for a disk that sits on neither bus.
    /// - Parameters:
    ///   - devicePath: such as `/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block/sda`.
    ///   - hubSpeed: reads the attribute `speed` of a device path such as `/devices/pci0000:00/0000:00:04.0/usb1`.
    package static func ofDisk(devicePath: String, hubSpeed: (String) -> Int?) -> Place? {
        let parts = devicePath.split(separator: "/").map(String.init)
        guard parts.count > 3, parts[0] == "devices", parts[parts.count - 2] == "block" else { return nil }
        // /devices/platform/soc/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0: the card chose `mmc0:aaaa`.
        let host = parts.lastIndex(of: "mmc_host").flatMap { parts.count == $0 + 5 ? $0 : nil }
        if let root = parts.lastIndex(where: isRootHub) {
            guard let device = usbDeviceIndex(parts, after: root), root > 1,
                let ports = parts[device].split(separator: "-").last.map(String.init), isPortChain(ports),
                let lun = host == nil ? logicalUnit(parts[parts.count - 3]) : 0,
                let speed = hubSpeed("/" + parts[0...root].joined(separator: "/"))
            else { return nil }
            return .usb(
                controller: stablePath(parts[1..<root].joined(separator: "/")), hubSpeed: speed, ports: ports, lun: lun)
        }
        guard let host, host > 1 else { return nil }
        return .mmc(controller: stablePath(parts[1..<host].joined(separator: "/")))
    }

    /// Why no such reader can be at this place; nil where one can. Logical units may be numbered with gaps.
    package func problem(with reader: Reader) -> String? {
        if case .mmc = self, reader != .mmcHost { return "at an MMC host the reader is mmc, not \(reader)" }
        return nil
    }

    /// What a place can have. SCSI knows larger numbers, which no reader of cards uses.
    private static let logicalUnits = 0..<256

    /// The logical unit of a SCSI device, the last of its four numbers `H:C:T:L`.
    private static func logicalUnit(_ name: String) -> Int? {
        let numbers = name.split(separator: ":")
        guard numbers.count == 4, let unit = Int(numbers[3]), logicalUnits.contains(unit) else { return nil }
        return unit
    }

    /// A device's path without the numbers that the kernel counts out as drivers come up: `xhci-hcd.0.auto` is
    /// `xhci-hcd.auto`. Were two such devices below one parent, both would claim one place, and be refused.
    private static func stablePath(_ path: String) -> String {
        path.split(separator: "/").map { part in
            var words = part.split(separator: ".", omittingEmptySubsequences: false)
            // However many: a place that is written down and read again must stay the same.
            while words.count >= 3, words.last == "auto", Int(words[words.count - 2]) != nil {
                words.remove(at: words.count - 2)
            }
            return words.joined(separator: ".")
        }.joined(separator: "/")
    }

    /// The same port on the root hub of the other speed class: where a reader turns up that came up as USB 2 in a USB 3 port.
    ///
    /// The two root hubs of a controller count their ports each in its own way, so the kernel is asked which two are one.
    /// Nil for a port that has one side only, or whose other side the kernel does not know.
    /// - Parameters:
    ///   - devicePath: of a disk at this place.
    ///   - peer: reads the link `peer` of a root hub's port such as `/devices/…/usb1/1-0:1.0/usb1-port2`, whose target ends in
    ///     `usb2-port1`.
    ///   - hubSpeed: as for `ofDisk`.
    package func otherSide(devicePath: String, peer: (String) -> String?, hubSpeed: (String) -> Int?) -> Place? {
        let parts = devicePath.split(separator: "/").map(String.init)
        guard case .usb(let controller, let ownSpeed, let ports, let lun) = self,
            let root = parts.lastIndex(where: Self.isRootHub)
        else { return nil }
        let chain = ports.split(separator: ".")
        let bus = parts[root].dropFirst(3)
        let above = "/" + parts[..<root].joined(separator: "/")
        guard let first = chain.first,
            let name = peer("\(above)/usb\(bus)/\(bus)-0:1.0/usb\(bus)-port\(first)")?.split(separator: "/").last,
            case let halves = name.split(separator: "-"), halves.count == 2, Self.isRootHub(String(halves[0])),
            halves[1].hasPrefix("port"), let port = Int(halves[1].dropFirst(4)), Self.isPortChain("\(port)"),
            let speed = hubSpeed("\(above)/\(halves[0])"), speed != ownSpeed
        else { return nil }
        let other = ["\(port)"] + chain.dropFirst().map(String.init)
        return .usb(controller: controller, hubSpeed: speed, ports: other.joined(separator: "."), lun: lun)
    }

    /// `USB 2 (480 Mbit/s)`; nil for an MMC host.
    package var speedTitle: String? {
        guard case .usb(_, let speed, _, _) = self else { return nil }
        return "USB \(speed >= 5000 ? 3 : speed >= 480 ? 2 : 1) (\(speed) Mbit/s)"
    }

    /// The path of the USB device that holds a disk: `…/usb1/1-2`, where the reader's identity is read.
    package static func readerPath(ofDisk devicePath: String) -> String? {
        let parts = devicePath.split(separator: "/").map(String.init)
        guard let root = parts.lastIndex(where: isRootHub), let device = usbDeviceIndex(parts, after: root) else {
            return nil
        }
        return "/" + parts[0...device].joined(separator: "/")
    }

    /// The path of the SCSI host that holds a disk: `…/1-2:1.0/host6`, where a reader's logical units are counted. Nil for a
    /// disk on an MMC host.
    package static func scsiHostPath(ofDisk devicePath: String) -> String? {
        let parts = devicePath.split(separator: "/").map(String.init)
        guard let host = parts.lastIndex(where: { $0.hasPrefix("host") && Int($0.dropFirst(4)) != nil }) else {
            return nil
        }
        return "/" + parts[0...host].joined(separator: "/")
    }

    /// Reads the text form.
    /// - Throws: `place_invalid`.
    package init(text: String) throws(StationError) {
        let words = text.split(separator: " ").map(String.init)
        if words.count == 8, words[0] == "usb", words[2] == "port", words[4] == "lun", words[6] == "at",
            let speed = Int(words[1]), speed > 0, Self.isPortChain(words[3]), let lun = Int(words[5]),
            Self.logicalUnits.contains(lun), Self.isControllerPath(words[7])
        {
            self = .usb(controller: Self.stablePath(words[7]), hubSpeed: speed, ports: words[3], lun: lun)
        } else if words.count == 3, words[0] == "mmc", words[1] == "at", Self.isControllerPath(words[2]) {
            self = .mmc(controller: Self.stablePath(words[2]))
        } else {
            throw StationError(
                "place_invalid", "“\(text.printable(limit: 120))” is no place",
                remedy: "write “usb SPEED port CHAIN lun N at CONTROLLER” or “mmc at CONTROLLER”, or use slot learn")
        }
    }

    package var description: String {
        switch self {
        case .usb(let controller, let speed, let ports, let lun):
            "usb \(speed) port \(ports) lun \(lun) at \(controller)"
        case .mmc(let controller): "mmc at \(controller)"
        }
    }

    /// Whether the place is an MMC host on no USB.
    package var isMMC: Bool { if case .mmc = self { true } else { false } }

    /// The same port whatever its logical unit: two slots of one reader share it.
    package var withoutLUN: Place {
        if case .usb(let controller, let speed, let ports, _) = self {
            return .usb(controller: controller, hubSpeed: speed, ports: ports, lun: 0)
        }
        return self
    }

    package init(coded text: String) throws(StationError) { try self.init(text: text) }

    private static func isRootHub(_ part: String) -> Bool {
        part.hasPrefix("usb") && part.utf8.count > 3 && Int(part.dropFirst(3)) != nil
    }

    /// The last part that is a USB device such as `1-2.3` (an interface has a colon: `1-2.3:1.0`).
    private static func usbDeviceIndex(_ parts: [String], after root: Int) -> Int? {
        parts.indices.last { index in
            let halves = parts[index].split(separator: "-", omittingEmptySubsequences: false)
            return index > root && halves.count == 2 && Int(halves[0]) != nil && isPortChain(String(halves[1]))
        }
    }

    private static func isPortChain(_ text: String) -> Bool {
        let ports = text.split(separator: ".", omittingEmptySubsequences: false)
        return (1...8).contains(ports.count)
            // As the kernel writes them: one port has one name.
            && ports.allSatisfy {
                !$0.isEmpty && $0.utf8.count <= 3 && $0.first != "0" && $0.utf8.allSatisfy { (48...57).contains($0) }
            }
    }

    private static func isControllerPath(_ text: String) -> Bool {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        // A backslash at the end of a line of a slot file would join it with the next.
        return text.utf8.count <= 512 && text.utf8.allSatisfy { (33...126).contains($0) && $0 != UInt8(ascii: "\\") }
            && parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }
}

/// Which reader is at a place: what it says of its make, and how many logical units it has.
///
/// A serial number is no part of it: sixteen equal readers are normal.
package struct Reader: Hashable, TextCoded, Sendable {
    /// USB vendor, four lower-case hexadecimal digits; `mmc` for an MMC host.
    package var vendor: String
    /// USB product, four lower-case hexadecimal digits; empty for an MMC host.
    package var product: String
    /// The number of logical units.
    package var lunCount: Int

    package init(vendor: String, product: String, lunCount: Int) {
        self.vendor = vendor
        self.product = product
        self.lunCount = lunCount
    }

    /// Whether both are of one make, whatever the number of their logical units: those appear one after the other.
    package func isOfMake(_ other: Reader) -> Bool { vendor == other.vendor && product == other.product }

    /// The reader that an MMC host is.
    package static let mmcHost = Reader(vendor: "mmc", product: "", lunCount: 1)

    /// Reads `0bda:0326 luns 1` or `mmc`.
    /// - Throws: `reader_invalid`.
    package init(text: String) throws(StationError) {
        let words = text.split(separator: " ").map(String.init)
        if words == ["mmc"] {
            self = .mmcHost
            return
        }
        let halves = (words.first ?? "").split(separator: ":").map(String.init)
        guard words.count == 3, words[1] == "luns", halves.count == 2,
            halves.allSatisfy({ $0.utf8.count == 4 && $0.isLowerHexadecimal }),
            let count = Int(words[2]), (1...64).contains(count)
        else {
            throw StationError(
                "reader_invalid", "“\(text.printable(limit: 60))” is no reader",
                remedy: "write VENDOR:PRODUCT luns N, such as 0bda:0326 luns 1, or mmc")
        }
        self.init(vendor: halves[0], product: halves[1], lunCount: count)
    }

    package var description: String {
        self == .mmcHost ? "mmc" : "\(vendor):\(product) luns \(lunCount)"
    }

    package init(coded text: String) throws(StationError) { try self.init(text: text) }
}
