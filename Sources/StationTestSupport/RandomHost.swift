package import StationCore

/// A host at random, and beside it what is true of it, known because it was made so.
///
/// It is built from the top down: first what the host lives from, a file system or swap, then what carries that, layer by
/// layer, down to disks. Each layer remembers the disks below it as it is made; nothing here walks the finished topology, as
/// the station must.
package struct RandomHost: Sendable {
    /// Why a disk in a reader must not be written, whatever it is used for.
    package enum Flaw: String, CaseIterable, Sendable {
        case none, undeclared, otherSpeed, otherReader, usbDisk, declaredTwice, rival, tooSmall, tooLarge, partition,
            hardwarePartition, solderedChip
        /// Seen by the station before it asks the guard.
        case empty, readOnly, noSequence
        /// Seen only when the disk is opened: its name or its number went to another one, or it carries what is protected.
        case otherMedium, otherNode, protectedLabel

        /// Whether the decision on names and sizes must already be no.
        package var isSeenUnopened: Bool { ![.none, .otherMedium, .otherNode, .protectedLabel].contains(self) }
        /// Whether the guard, asked without the station, must say no.
        package var isSeenByGuard: Bool { ![.none, .empty, .readOnly, .noSequence].contains(self) }
    }

    /// What may lie between a disk and what uses it.
    package enum Layer: String, CaseIterable, Sendable {
        case wholeDisk, partition, crypt, volume, raid, multipath, bcache, loopOverDevice, loopOverFile, plain, btrfs,
            zfs, overlay, bindMount, otherNamespace, linkedSource, swap, swapFile, idle
    }

    /// What the host does with some of its disks.
    package struct Consumer: Sendable {
        /// What the station says of a disk below it, where it can see the way down.
        package var use: DiskTopology.Use?
        /// Each disk that carries it: whether every layer on the way there can be seen in sysfs and the mounts.
        package var reach: [String: Bool]
    }

    package struct Disk: Sendable {
        package var record: DeviceRecord
        package var flaw: Flaw
        /// Whether the kernel lets nobody open it exclusively any more.
        package var isClaimed = false
        /// What is built directly on it or on one of its partitions.
        package var isHeld = false
    }

    package private(set) var topology = DiskTopology(nodes: [], mounts: [], swaps: [], systemNumbers: [])
    package private(set) var disks: [Disk] = []
    package private(set) var slots: [SlotDeclaration] = []
    package private(set) var consumers: [Consumer] = []
    /// How often each layer was made.
    package private(set) var layers: [Layer: Int] = [:]

    private var random: SeededRandom
    private let cardByteCount: UInt64
    private var counter = 0
    /// The number of the disk that a leaf, a whole disk or a partition, belongs to.
    private var leaves: [String: Int] = [:]
    private var partitions: [Int: [String]] = [:]

    /// - Parameter cardByteCount: of every disk.
    package init(seed: UInt64, cardByteCount: UInt64 = 8_000_000_000) throws {
        random = SeededRandom(seed: seed)
        self.cardByteCount = cardByteCount
        for _ in 0..<Int.random(in: 1...3, using: &random) { addSystemDisk() }
        for _ in 0..<Int.random(in: 1...4, using: &random) { try addCard() }
        addRoot()
        for _ in 0..<Int.random(in: 0...4, using: &random) { addConsumer() }
        topology.nodes.shuffle(using: &random)
        topology.mounts.shuffle(using: &random)
        slots.shuffle(using: &random)
    }

    // MARK: Disks

    private mutating func next() -> Int {
        counter += 1
        return counter
    }

    private mutating func add(_ record: DeviceRecord, _ flaw: Flaw) {
        let index = disks.count
        disks.append(Disk(record: record, flaw: flaw))
        topology.nodes.append(.init(name: record.name, number: "8:\(index * 256)"))
        leaves[record.name] = index
    }

    private mutating func addSystemDisk() {
        let name = random.chance(percent: 50) ? "nvme\(next())n1" : "sd\(next())"
        add(
            DeviceRecord(
                name: name, devicePath: "/devices/pci/block/\(name)", deviceSequence: UInt64(next()),
                byteCount: cardByteCount, place: nil, reader: nil), .undeclared)
    }

    /// A disk in a reader, as a rule with a slot for it.
    private mutating func addCard() throws {
        // Half are cards as they should be: else hardly any would be written, and a station that refuses all would be right.
        let flaw = random.chance(percent: 50) ? .none : Flaw.allCases.randomElement(using: &random) ?? .none
        let isMMC = flaw == .solderedChip || flaw == .hardwarePartition || (flaw == .none && random.chance(percent: 15))
        let number = next()
        let place: Place =
            isMMC
            ? .mmc(controller: "platform/soc/\(number).mmc")
            : .usb(controller: "pci0000:00/0000:00:14.0", hubSpeed: 480, ports: "\(number)", lun: 0)
        let name = isMMC ? "mmcblk\(number)" + (flaw == .hardwarePartition ? "boot0" : "") : "sd\(number)"
        let reader = isMMC ? Reader.mmcHost : Samples.reader
        var record = DeviceRecord(
            name: name, devicePath: "/devices/\(number)/block/\(name)", deviceSequence: UInt64(next()),
            byteCount: cardByteCount, place: place, reader: reader,
            cardType: isMMC ? (flaw == .solderedChip ? "MMC" : "SD") : nil)
        var slot = try Samples.slot("slot\(number)", place: place, reader: reader)
        switch flaw {
        case .otherSpeed:
            slot.place = .usb(controller: "pci0000:00/0000:00:14.0", hubSpeed: 5000, ports: "\(number)", lun: 0)
            record.otherSide = slot.place
        case .otherReader:
            slot.reader =
                random.chance(percent: 50)
                ? Reader(vendor: "05e3", product: "0749", lunCount: 1)
                : Reader(vendor: Samples.reader.vendor, product: Samples.reader.product, lunCount: 2)
        case .usbDisk:
            // Somebody's disk, with a controller of its own, in the reader's port.
            record.reader = Reader(vendor: "152d", product: "0578", lunCount: 1)
            record.model = "JMicron External"
        case .declaredTwice: slots.append(try Samples.slot("other\(number)", place: place, reader: reader))
        case .tooSmall: slot.minimumByteCount = cardByteCount + 1
        case .tooLarge: slot.maximumByteCount = cardByteCount - 1
        case .partition: record.isWholeDisk = false
        case .empty: record.byteCount = 0
        case .readOnly: record.isReadOnly = true
        case .noSequence: record.deviceSequence = nil
        default: break
        }
        if flaw != .undeclared { slots.append(slot) }
        add(record, flaw)
        if flaw == .rival {
            record.name = "sd\(next())"
            record.devicePath = "/devices/\(next())/block/\(record.name)"
            record.deviceSequence = UInt64(next())
            add(record, .rival)
        }
    }

    // MARK: Layers, from the top down

    /// A block device, and the disks below it.
    private struct Below {
        var name: String
        var number: String
        var reach: [String: Bool]
    }

    private mutating func note(_ layer: Layer) { layers[layer, default: 0] += 1 }

    private mutating func leaf(wholeOnly: Bool = false) -> Below {
        // What is behind readers is used, too, but not by everything: some cards must stay free.
        let system = disks.indices.filter { disks[$0].record.place == nil }
        let isSystem = random.chance(percent: 65)
        let index = (isSystem ? system : Array(disks.indices)).randomElement(using: &random) ?? 0
        let disk = disks[index].record.name
        if wholeOnly || random.chance(percent: 25) {
            note(.wholeDisk)
            return Below(name: disk, number: "8:\(index * 256)", reach: [disk: true])
        }
        note(.partition)
        let known = partitions[index, default: []]
        if let name = known.randomElement(using: &random), random.chance(percent: 30), let part = number(of: name) {
            return Below(name: name, number: part, reach: [disk: true])
        }
        let name = "\(disk)p\(known.count + 1)"
        let number = "8:\(index * 256 + known.count + 1)"
        partitions[index, default: []].append(name)
        leaves[name] = index
        topology.nodes.append(.init(name: name, number: number, parent: disk))
        return Below(name: name, number: number, reach: [disk: true])
    }

    private func number(of name: String) -> String? { topology.nodes.first { $0.name == name }?.number }

    /// What is opened exclusively by what is built on it keeps everybody off the whole disk.
    private mutating func claim(_ below: Below) {
        if let index = leaves[below.name] { disks[index].isClaimed = true }
    }

    private mutating func device(depth: Int) -> Below {
        guard depth > 0, random.chance(percent: 70) else { return leaf() }
        switch Int.random(in: 0..<7, using: &random) {
        case 0: return stack(.crypt, "dm-", [device(depth: depth - 1)])
        case 1: return stack(.volume, "dm-", devices(1...3, depth: depth - 1))
        case 2: return stack(.raid, "md", devices(2...3, depth: depth - 1))
        case 3: return stack(.multipath, "dm-", [leaf(wholeOnly: true), leaf(wholeOnly: true)])
        case 4: return stack(.bcache, "bcache", devices(2...2, depth: depth - 1))
        case 5: return loopOverDevice(device(depth: depth - 1))
        default: return loopOverFile(fileSystem(depth: depth - 1))
        }
    }

    private mutating func devices(_ count: ClosedRange<Int>, depth: Int) -> [Below] {
        (0..<Int.random(in: count, using: &random)).map { _ in device(depth: depth) }
    }

    /// RAID, LVM, device-mapper and their like: the kernel links both ends; one link is enough to see it.
    private mutating func stack(_ layer: Layer, _ prefix: String, _ below: [Below]) -> Below {
        note(layer)
        let name = "\(prefix)\(next())"
        let number = "253:\(next())"
        var reach: [String: Bool] = [:]
        var slaves: [String] = []
        for lower in below {
            claim(lower)
            let links = Int.random(in: 0..<10, using: &random)
            let hasSlave = links != 0
            if links != 1, let index = topology.nodes.firstIndex(where: { $0.name == lower.name }) {
                topology.nodes[index].holders.append(name)
            }
            if hasSlave { slaves.append(lower.name) }
            if let index = leaves[lower.name] { disks[index].isHeld = true }
            for (disk, isVisible) in lower.reach {
                reach[disk] = reach[disk, default: false] || (isVisible && hasSlave)
            }
        }
        topology.nodes.append(.init(name: name, number: number, slaves: slaves))
        return Below(name: name, number: number, reach: reach)
    }

    private mutating func loopOverDevice(_ below: Below) -> Below {
        note(.loopOverDevice)
        // The path is that of whoever set it up, in whatever tree; the number is asked of the path, and may be gone with it.
        switch Int.random(in: 0..<10, using: &random) {
        case 0...1: return loop(file: "/srv/nodes/disk\(next())", device: below.number, below.reach)
        case 2: return loop(file: "/dev/\(below.name) (deleted)", device: nil, below.reach)
        default: return loop(file: "/dev/\(below.name)", device: below.number, below.reach)
        }
    }

    private mutating func loopOverFile(_ system: FileSystem) -> Below {
        note(.loopOverFile)
        return loop(file: "\(system.target)/disk.img", device: system.number, system.reach)
    }

    private mutating func loop(file: String, device: String?, _ reach: [String: Bool]) -> Below {
        let name = "loop\(next())"
        let number = "7:\(next())"
        topology.nodes.append(.init(name: name, number: number, backingFile: file, backingDevice: device))
        consumers.append(Consumer(use: .loop(name), reach: reach))
        return Below(name: name, number: number, reach: reach)
    }

    private struct FileSystem {
        var number: String
        var target: String
        var reach: [String: Bool]
    }

    /// A mounted file system.
    private mutating func fileSystem(depth: Int, at target: String? = nil) -> FileSystem {
        let target = target ?? "/mnt/\(next())"
        var system = FileSystem(number: "0:\(next() + 20)", target: target, reach: [:])
        let source: String
        switch Int.random(in: 0..<10, using: &random) {
        case 0, 1:
            note(.btrfs)
            let below = devices(1...3, depth: depth)
            // The mount names one of its devices, and sometimes by a link.
            let isNamed = random.chance(percent: 75)
            if !isNamed { note(.linkedSource) }
            source = isNamed ? "/dev/\(below[0].name)" : "/dev/disk/by-id/usb-\(next())-part1"
            for (position, lower) in below.enumerated() {
                claim(lower)
                for (disk, isVisible) in lower.reach {
                    system.reach[disk] = system.reach[disk, default: false] || (isVisible && isNamed && position == 0)
                }
            }
        case 2:
            note(.zfs)
            source = "tank/data\(next())"
            for lower in devices(1...3, depth: depth) {
                claim(lower)
                for disk in lower.reach.keys { system.reach[disk] = false }
            }
        default:
            note(.plain)
            let below = device(depth: depth)
            claim(below)
            system.number = below.number
            system.reach = below.reach
            let names = ["\(below.name)", "root", "mapper/vg-\(next())", "disk/by-id/usb-\(next())"]
            source = "/dev/\(names.randomElement(using: &random) ?? below.name)"
            if source.hasPrefix("/dev/disk") { note(.linkedSource) }
        }
        mount(system, source, target)
        if random.chance(percent: 20) {
            note(.bindMount)
            mount(system, source, "/bound/\(next())")
        }
        if random.chance(percent: 20), !system.number.hasPrefix("0:") {
            note(.otherNamespace)
            mount(system, "/dev/root", "/in/another/\(next())")
        }
        return system
    }

    private mutating func mount(_ system: FileSystem, _ source: String, _ target: String) {
        topology.mounts.append(.init(number: system.number, source: source, target: target))
        consumers.append(Consumer(use: .mount(target), reach: system.reach))
    }

    // MARK: What the host lives from

    private mutating func addRoot() {
        let isOverlay = random.chance(percent: 10)
        let system = fileSystem(depth: 4, at: isOverlay ? "/run/live/medium" : "/")
        if isOverlay {
            note(.overlay)
            let number = "0:\(next() + 20)"
            topology.mounts.append(.init(number: number, source: "overlay", target: "/"))
            topology.systemNumbers.append(number)
        } else {
            topology.systemNumbers.append(system.number)
            consumers.append(Consumer(use: .system(system.number), reach: system.reach))
        }
        for directory in ["/boot", "/usr", "/var"] where random.chance(percent: 30) {
            let system = fileSystem(depth: 3, at: directory)
            guard !topology.systemNumbers.contains(system.number) else { continue }
            topology.systemNumbers.append(system.number)
            consumers.append(Consumer(use: .system(system.number), reach: system.reach))
        }
    }

    private mutating func addConsumer() {
        switch Int.random(in: 0..<7, using: &random) {
        case 0, 6:
            // Nobody holds the disk for it: only who looks finds it.
            _ = loopOverDevice(leaf())
        case 1:
            note(.swap)
            let below = device(depth: 3)
            claim(below)
            topology.swaps.append(below.name)
            consumers.append(Consumer(use: .swap(below.name), reach: below.reach))
        case 2:
            // Its file system is mounted; nothing else of it is to be seen.
            note(.swapFile)
            _ = fileSystem(depth: 3)
        case 3:
            // Assembled, and used by nobody yet.
            note(.idle)
            let below = stack(.crypt, "dm-", [device(depth: 2)])
            consumers.append(Consumer(use: nil, reach: below.reach))
        default: _ = fileSystem(depth: 3)
        }
    }
}

// MARK: - What is asked of the station

extension RandomHost {
    /// What the station got wrong on one host.
    package struct Findings: Equatable, Sendable {
        /// Disks it would write and must not.
        package var wrongDisks: [String] = []
        /// Cards it would not write and should.
        package var refusedCards: [String] = []
        /// Uses that it could have seen and did not, or that are none of this disk's.
        package var wrongUses: [String] = []

        package init() {}
        package var isRight: Bool { self == Findings() }
    }

    /// Whether anything of the host lies on this disk.
    package func isUsed(_ disk: String) -> Bool { consumers.contains { $0.reach[disk] != nil } }

    /// Asks eligibility and topology about every disk.
    package func findings() -> Findings {
        var findings = Findings()
        let records = disks.map(\.record)
        for disk in disks {
            let name = disk.record.name
            let uses = topology.uses(ofDisk: name)
            judge(uses, of: disk, &findings)
            // A card's decision is the station's; that nobody has the disk is what the kernel and the topology say.
            guard case .card = Eligibility.decide(disk.record, slots: slots, devices: records) else {
                if !disk.flaw.isSeenUnopened, !isUsed(name) { findings.refusedCards.append(name) }
                continue
            }
            let isWritten = !disk.isClaimed && uses.isEmpty
            if isWritten, disk.flaw.isSeenUnopened || isUsed(name) { findings.wrongDisks.append(name) }
            if !isWritten, !disk.flaw.isSeenUnopened, !isUsed(name) { findings.refusedCards.append(name) }
        }
        return findings
    }

    private func judge(_ uses: [DiskTopology.Use], of disk: Disk, _ findings: inout Findings) {
        let name = disk.record.name
        for consumer in consumers {
            guard let use = consumer.use else { continue }
            let isSeen = uses.contains(use)
            if consumer.reach[name] == true, !isSeen {
                findings.wrongUses.append("\(name): nothing of “\(use.detail)”")
            }
            if consumer.reach[name] == nil, isSeen { findings.wrongUses.append("\(name): “\(use.detail)”") }
        }
        let isHeld = uses.contains { if case .held = $0 { true } else { false } }
        if isHeld != disk.isHeld { findings.wrongUses.append("\(name): \(isHeld ? "" : "not ")held") }
    }
}
