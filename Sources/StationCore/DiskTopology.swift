/// All block devices of a host and what uses them, as one value: what exclusive opening cannot see, and the reason for what
/// it does see, are decided on it without asking the kernel again.
package struct DiskTopology: Equatable, Sendable {
    /// One block device.
    package struct Node: Equatable, Sendable {
        package var name: String
        /// `major:minor`.
        package var number: String
        /// The whole disk, for a partition.
        package var parent: String?
        /// What it is built upon, for dm, md, bcache.
        package var slaves: [String]
        /// What is built upon it.
        package var holders: [String]
        /// The file a loop device reads, and the device number of the file system that holds it.
        package var backingFile: String?
        package var backingDevice: String?

        package init(
            name: String, number: String, parent: String? = nil, slaves: [String] = [], holders: [String] = [],
            backingFile: String? = nil, backingDevice: String? = nil
        ) {
            self.name = name
            self.number = number
            self.parent = parent
            self.slaves = slaves
            self.holders = holders
            self.backingFile = backingFile
            self.backingDevice = backingDevice
        }
    }

    /// A mounted file system, in whatever namespace.
    package struct Mount: Hashable, Sendable {
        /// `major:minor`; 0:N for file systems such as btrfs that span devices.
        package var number: String
        /// Such as `/dev/sda1`.
        package var source: String
        package var target: String

        package init(number: String, source: String, target: String) {
            self.number = number
            self.source = source
            self.target = target
        }
    }

    package var nodes: [Node]
    package var mounts: [Mount]
    /// Names of swap devices.
    package var swaps: [String]
    /// The device numbers of the file systems under `/`, `/usr`, `/boot`, `/boot/efi` and the station's own data.
    package var systemNumbers: [String]

    package init(nodes: [Node], mounts: [Mount], swaps: [String], systemNumbers: [String]) {
        self.nodes = nodes
        self.mounts = mounts
        self.swaps = swaps
        self.systemNumbers = systemNumbers
    }

    /// What one disk is used for.
    package enum Use: Equatable, Sendable {
        case held(by: String)
        case loop(String)
        case swap(String)
        case mount(String)
        case system(String)

        /// The refusal it leads to.
        package var reason: Reason {
            switch self {
            case .held: .deviceHeld
            case .loop: .deviceBacksLoop
            case .swap: .deviceIsSwap
            case .mount: .deviceMounted
            case .system: .deviceIsSystemDisk
            }
        }

        package var detail: String {
            switch self {
            case .held(let holder): "held by \(holder.printable(limit: 40))"
            case .loop(let loop): "backs \(loop.printable(limit: 40))"
            case .swap(let swap): "\(swap.printable(limit: 40)) is swap"
            case .mount(let target): "mounted at \(target.printable(limit: 120))"
            case .system(let number): "holds the file system \(number) this host runs from"
            }
        }
    }

    /// Every use of a disk or of anything built on it, holders first, in the order in which the guard asks.
    package func uses(ofDisk disk: String) -> [Use] {
        let family = nodes.filter { $0.name == disk || $0.parent == disk }.map(\.name)
        var uses: [Use] = []
        for node in nodes where family.contains(node.name) {
            uses += node.holders.map { .held(by: $0) }
        }
        for node in nodes where !family.contains(node.name) {
            if node.slaves.contains(where: family.contains) { uses.append(.held(by: node.name)) }
        }
        // A dm may show no holder on the whole disk, so everything that reaches the disk through any stack counts as well.
        for node in nodes where !family.contains(node.name) && disks(under: node.name).contains(disk) {
            if node.backingFile != nil { uses.append(.loop(node.name)) }
        }
        for swap in swaps where disks(under: swap).contains(disk) { uses.append(.swap(swap)) }
        for mount in mounts where reaches(mount, disk) { uses.append(.mount(mount.target)) }
        for number in systemNumbers where reaches(number: number, disk) { uses.append(.system(number)) }
        return uses
    }

    /// The whole disks below a device, through partitions, dm, md and loop devices over files or devices; what is between,
    /// and the device itself, is counted as well, for a loop device can be a card.
    package func disks(under name: String) -> Set<String> {
        var found: Set<String> = []
        var seen: Set<String> = []
        var open = [name]
        while let current = open.popLast() {
            guard seen.insert(current).inserted, let node = nodes.first(where: { $0.name == current }) else { continue }
            var below = node.slaves
            if let parent = node.parent { below.append(parent) }
            if let file = node.backingFile { below += loopSources(file: file, device: node.backingDevice) }
            if node.parent == nil { found.insert(current) }
            open += below
        }
        return found
    }

    /// The devices below a loop device: the one it was set up over, or those of the file system that holds its file.
    private func loopSources(file: String, device: String?) -> [String] {
        // What the kernel says of a node that was removed meanwhile; the device is read all the same.
        let removed = " (deleted)"
        let file = file.hasSuffix(removed) ? String(file.dropLast(removed.count)) : file
        if file.hasPrefix("/dev/"), let name = file.split(separator: "/").last.map(String.init),
            nodes.contains(where: { $0.name == name })
        {
            return [name]
        }
        guard let device else { return [] }
        return names(number: device)
    }

    /// The nodes a file-system number stands for: one, or for 0:N all sources of its mounts.
    private func names(number: String) -> [String] {
        let direct = nodes.filter { $0.number == number }.map(\.name)
        if !direct.isEmpty { return direct }
        return mounts.filter { $0.number == number }.compactMap { nodeName(source: $0.source) }
    }

    private func nodeName(source: String) -> String? {
        guard source.hasPrefix("/dev/"), let name = source.split(separator: "/").last.map(String.init) else {
            return nil
        }
        return nodes.contains { $0.name == name } ? name : nil
    }

    private func reaches(_ mount: Mount, _ disk: String) -> Bool {
        if reaches(number: mount.number, disk) { return true }
        guard let name = nodeName(source: mount.source) else { return false }
        return disks(under: name).contains(disk)
    }

    private func reaches(number: String, _ disk: String) -> Bool {
        names(number: number).contains { disks(under: $0).contains(disk) }
    }
}
