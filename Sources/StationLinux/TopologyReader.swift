import Glibc
package import StationCore

extension DiskTopology {
    /// Directories whose file systems this host runs from.
    package static let systemDirectories = [
        "/", "/usr", "/boot", "/boot/efi", "/boot/firmware", "/var", "/var/lib/flashing-station",
    ]

    /// Reads all block devices, mounts of every process's namespace, and swaps, as they are now.
    ///
    /// - Throws: `topology_unreadable` when one of the sources is not to be had: what cannot be seen is not taken for free.
    package static func read() throws(StationError) -> DiskTopology {
        guard let names = SmallFile.names(in: "/sys/class/block") else {
            throw StationError("topology_unreadable", "/sys/class/block cannot be read")
        }
        guard let swaps = try? SmallFile.read("/proc/swaps", limit: 1 << 20) else {
            throw StationError(
                "topology_unreadable", "/proc/swaps cannot be read", remedy: "the unit must not set ProcSubset=pid")
        }
        return DiskTopology(
            nodes: names.compactMap(node), mounts: try mounts(),
            swaps: swapDevices(String(decoding: swaps, as: UTF8.self)),
            systemNumbers: systemDirectories.compactMap { try? FileStatus(of: $0).fileSystemNumber }.unique)
    }

    private static func node(_ name: String) -> Node? {
        guard let path = Sysfs.devicePath(ofBlockDevice: name), let number = Sysfs.number(devicePath: path) else {
            return nil
        }
        let directory = "/sys" + path
        let parts = path.split(separator: "/").map(String.init)
        let isPartition = SmallFile.attribute(directory + "/partition") != nil
        let backing = SmallFile.attribute(directory + "/loop/backing_file").map(unescaped)
        return Node(
            name: name, number: number, parent: isPartition && parts.count > 1 ? parts[parts.count - 2] : nil,
            slaves: SmallFile.names(in: directory + "/slaves") ?? [],
            holders: SmallFile.names(in: directory + "/holders") ?? [], backingFile: backing,
            backingDevice: backing.flatMap { try? FileStatus(of: $0) }.map {
                // Set up over a device, it reads that device, whatever its node is called and wherever it lies.
                $0.kind == .block ? $0.deviceNumber : $0.fileSystemNumber
            })
    }

    /// The mounts of PID 1 and of all processes. Most share one table; reading it again is cheaper than finding out.
    /// - Parameter directory: where the processes are; `/proc`, but for tests.
    static func mounts(in directory: String = "/proc") throws(StationError) -> [Mount] {
        var found: Set<Mount> = []
        var seen: Set<[UInt8]> = []
        // PID 1 whether it is listed or not: where processes are hidden it is among them, and then most others are, too.
        let others = (SmallFile.names(in: directory) ?? []).filter { Int($0) != nil && $0 != "1" }
        for process in ["1", "self"] + others {
            let bytes: [UInt8]
            do {
                bytes = try SmallFile.read("\(directory)/\(process)/mountinfo", limit: 16 << 20)
            } catch {
                // A process may end at any moment. PID 1 does not, and a table that is too long hides something.
                guard process == "1" || error.number == EFBIG else { continue }
                throw StationError(
                    "topology_unreadable", "\(error)",
                    remedy: "the unit must not set ProtectProc=invisible, nor /proc be mounted with hidepid=")
            }
            guard seen.insert(bytes).inserted else { continue }
            for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n" as Character) {
                if let mount = mount(line: line) { found.insert(mount) }
            }
        }
        return found.sorted { ($0.target, $0.source) < ($1.target, $1.source) }
    }

    /// One line of mountinfo: `36 35 98:0 /root /target rw,noatime master:1 - ext3 /dev/root rw`.
    static func mount(line: Substring) -> Mount? {
        let fields = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard fields.count > 6, let dash = fields.firstIndex(of: "-"), fields.count > dash + 2 else { return nil }
        return Mount(number: fields[2], source: unescaped(fields[dash + 2]), target: unescaped(fields[4]))
    }

    /// The devices in `/proc/swaps`, by their kernel names.
    static func swapDevices(_ text: String) -> [String] {
        text.split(separator: "\n").dropFirst().compactMap { line in
            guard let path = line.split(separator: " ").first.map({ unescaped(String($0)) }), path.hasPrefix("/dev/")
            else { return nil }
            let real =
                (try? FileStatus(of: path).deviceNumber).flatMap { SmallFile.link("/sys/dev/block/\($0)") } ?? path
            return real.split(separator: "/").last.map(String.init)
        }
    }

    /// Undoes the kernel's octal escapes of white space: `\040` is a space.
    static func unescaped(_ text: String) -> String {
        guard text.contains("\\") else { return text }
        var result: [UInt8] = []
        let bytes = Array(text.utf8)
        var index = 0
        while index < bytes.count {
            if bytes[index] == 92, index + 3 < bytes.count,
                let value = UInt8(String(decoding: bytes[(index + 1)...(index + 3)], as: UTF8.self), radix: 8)
            {
                result.append(value)
                index += 4
            } else {
                result.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}

extension Array where Element: Hashable {
    /// The elements without repetition, in their order.
    fileprivate var unique: [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
