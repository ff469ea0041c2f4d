import StationCore
import StationTestSupport
import Testing

private typealias Node = DiskTopology.Node
private typealias Mount = DiskTopology.Mount

@Suite("What uses a disk")
struct TopologyTests {
    /// sda with two partitions, and the host's own disk vda.
    private static func host(
        _ more: [Node] = [], mounts: [Mount] = [], swaps: [String] = [], system: [String] = ["254:1"]
    ) -> DiskTopology {
        DiskTopology(
            nodes: [
                Node(name: "sda", number: "8:0"), Node(name: "sda1", number: "8:1", parent: "sda"),
                Node(name: "sda2", number: "8:2", parent: "sda"), Node(name: "vda", number: "254:0"),
                Node(name: "vda1", number: "254:1", parent: "vda"), Node(name: "sdb", number: "8:16"),
            ] + more, mounts: mounts + [Mount(number: "254:1", source: "/dev/vda1", target: "/")], swaps: swaps,
            systemNumbers: system)
    }

    @Test("is nothing for a card that only lies there")
    func free() {
        #expect(Self.host().uses(ofDisk: "sda") == [])
        #expect(Self.host().uses(ofDisk: "sdq") == [])
        #expect(Self.host().uses(ofDisk: "vda").contains(.system("254:1")))
    }

    @Test("is RAID, LVM or device-mapper on the disk or on a partition, seen from either side")
    func held() {
        for below in ["sda", "sda1", "sda2"] {
            let dm = Node(name: "dm-0", number: "253:0", slaves: [below])
            #expect(Self.host([dm]).uses(ofDisk: "sda") == [.held(by: "dm-0")])
            #expect(Self.host([dm]).uses(ofDisk: "sdb") == [])
            #expect(Self.host([dm]).uses(ofDisk: "sd") == [])
        }
        var topology = Self.host()
        topology.nodes[1].holders = ["md0"]
        #expect(topology.uses(ofDisk: "sda") == [.held(by: "md0")])
    }

    @Test("is a mount of a partition, in whatever namespace")
    func mounted() {
        let mount = Mount(number: "8:2", source: "/dev/sda2", target: "/mnt")
        #expect(Self.host(mounts: [mount]).uses(ofDisk: "sda") == [.mount("/mnt")])
        #expect(Self.host(mounts: [mount]).uses(ofDisk: "sdb") == [])
        // Another namespace calls the device something else.
        let strange = Mount(number: "8:2", source: "/dev/root", target: "/x")
        #expect(Self.host(mounts: [strange]).uses(ofDisk: "sda") == [.mount("/x")])
    }

    @Test("is a mount of btrfs, whose number stands for no device")
    func btrfs() {
        let mount = Mount(number: "0:45", source: "/dev/sda1", target: "/data")
        #expect(Self.host(mounts: [mount]).uses(ofDisk: "sda") == [.mount("/data")])
        #expect(Self.host(mounts: [mount], system: ["0:45"]).uses(ofDisk: "sda") == [.mount("/data"), .system("0:45")])
        #expect(Self.host(mounts: [mount], system: ["0:46"]).uses(ofDisk: "sda") == [.mount("/data")])
    }

    @Test("is swap on the disk, a partition, or what is built on it")
    func swap() {
        #expect(Self.host(swaps: ["sda"]).uses(ofDisk: "sda") == [.swap("sda")])
        #expect(Self.host(swaps: ["sda2"]).uses(ofDisk: "sda") == [.swap("sda2")])
        let dm = Node(name: "dm-1", number: "253:1", slaves: ["sda2"])
        #expect(Self.host([dm], swaps: ["dm-1"]).uses(ofDisk: "sda") == [.held(by: "dm-1"), .swap("dm-1")])
    }

    @Test("is a loop device over the disk, a partition, or a file on one")
    func loops() {
        let overPartition = Node(name: "loop0", number: "7:0", backingFile: "/dev/sda1", backingDevice: "0:5")
        #expect(Self.host([overPartition]).uses(ofDisk: "sda") == [.loop("loop0")])
        let overRemovedNode = Node(name: "loop0", number: "7:0", backingFile: "/dev/sda1 (deleted)")
        #expect(Self.host([overRemovedNode]).uses(ofDisk: "sda") == [.loop("loop0")])
        let overFile = Node(name: "loop0", number: "7:0", backingFile: "/mnt/file", backingDevice: "8:1")
        #expect(Self.host([overFile]).uses(ofDisk: "sda") == [.loop("loop0")])
        let elsewhere = Node(name: "loop0", number: "7:0", backingFile: "/tmp/file", backingDevice: "254:1")
        #expect(Self.host([elsewhere]).uses(ofDisk: "sda") == [])
        let unbound = Node(name: "loop1", number: "7:1")
        #expect(Self.host([unbound]).uses(ofDisk: "sda") == [])
        let onBtrfs = Node(name: "loop0", number: "7:0", backingFile: "/data/file", backingDevice: "0:45")
        let mount = Mount(number: "0:45", source: "/dev/sda1", target: "/data")
        #expect(Self.host([onBtrfs], mounts: [mount]).uses(ofDisk: "sda") == [.loop("loop0"), .mount("/data")])
    }

    @Test("is the system through any stack: LVM over RAID over a loop over a file on a partition")
    func stack() {
        let nodes = [
            Node(name: "loop0", number: "7:0", backingFile: "/mnt/file", backingDevice: "8:1"),
            Node(name: "md0", number: "9:0", slaves: ["loop0"]), Node(name: "dm-0", number: "253:0", slaves: ["md0"]),
        ]
        let topology = Self.host(
            nodes, mounts: [Mount(number: "253:0", source: "/dev/mapper/root", target: "/")], swaps: ["dm-0"],
            system: ["253:0"])
        #expect(topology.uses(ofDisk: "sda") == [.loop("loop0"), .swap("dm-0"), .mount("/"), .system("253:0")])
        #expect(topology.disks(under: "dm-0").contains("sda"))
        #expect(!topology.disks(under: "dm-0").contains("sdb"))
    }

    @Test("is found for a card that is a loop device itself")
    func loopCard() {
        let card = Node(name: "loop3", number: "7:3", backingFile: "/tmp/card", backingDevice: "254:1")
        let mount = Mount(number: "7:3", source: "/dev/loop3", target: "/mnt")
        #expect(
            Self.host([card], mounts: [mount], swaps: ["loop3"]).uses(ofDisk: "loop3") == [
                .swap("loop3"), .mount("/mnt"),
            ])
        #expect(Self.host([card]).uses(ofDisk: "loop3") == [])
    }

    @Test("is found in rings without hanging")
    func rings() {
        let nodes = [
            Node(name: "dm-0", number: "253:0", slaves: ["dm-1"]),
            Node(name: "dm-1", number: "253:1", slaves: ["dm-0", "sda"]),
        ]
        #expect(Self.host(nodes, swaps: ["dm-0"]).uses(ofDisk: "sda").contains(.swap("dm-0")))
    }

    @Test("has a reason and a detail for each kind")
    func reasons() {
        let uses: [(DiskTopology.Use, Reason)] = [
            (.held(by: "a"), .deviceHeld), (.loop("a"), .deviceBacksLoop), (.swap("a"), .deviceIsSwap),
            (.mount("/\u{1b}a"), .deviceMounted), (.system("8:1"), .deviceIsSystemDisk),
        ]
        for (use, reason) in uses {
            #expect(use.reason == reason)
            #expect(!use.detail.isEmpty && !use.detail.contains("\u{1b}"))
        }
    }

    /// A host at random, and beside it the disks that each device reaches, found out while it is made.
    private static func random(_ random: inout SeededRandom) -> (
        DiskTopology, reach: [String: Set<String>], kind: [String: String]
    ) {
        var nodes: [Node] = []
        var reach: [String: Set<String>] = [:]
        var kind: [String: String] = [:]
        for index in 0..<Int.random(in: 1...4, using: &random) {
            let disk = "sd\(index)"
            nodes.append(Node(name: disk, number: "8:\(index * 16)"))
            reach[disk] = [disk]
            kind[disk] = "disk"
            for part in 0..<Int.random(in: 0...3, using: &random) {
                let name = "\(disk)p\(part)"
                nodes.append(Node(name: name, number: "8:\(index * 16 + part + 1)", parent: disk))
                reach[name] = [disk]
                kind[name] = "part"
            }
        }
        for index in 0..<Int.random(in: 0...8, using: &random) {
            let below = (0..<Int.random(in: 1...2, using: &random)).compactMap { _ in
                nodes.randomElement(using: &random)
            }
            if random.chance(percent: 50) {
                let name = "dm-\(index)"
                nodes.append(Node(name: name, number: "253:\(index)", slaves: below.map(\.name)))
                reach[name] = below.reduce(into: []) { $0.formUnion(reach[$1.name] ?? []) }
                kind[name] = "dm"
            } else if let first = below.first {
                let name = "loop\(index)"
                let isDevice = random.chance(percent: 50)
                nodes.append(
                    Node(
                        name: name, number: "7:\(index)", backingFile: isDevice ? "/dev/\(first.name)" : "/srv/file",
                        backingDevice: isDevice ? "0:5" : first.number))
                reach[name] = reach[first.name]
                kind[name] = "loop"
            }
        }
        var topology = DiskTopology(nodes: nodes.shuffled(using: &random), mounts: [], swaps: [], systemNumbers: [])
        for node in nodes where random.chance(percent: 20) {
            let isBtrfs = random.chance(percent: 30)
            topology.mounts.append(
                Mount(
                    number: isBtrfs ? "0:\(topology.mounts.count + 40)" : node.number, source: "/dev/\(node.name)",
                    target: "/m/\(node.name)"))
        }
        topology.swaps = nodes.filter { _ in random.chance(percent: 15) }.map(\.name)
        topology.systemNumbers = nodes.filter { _ in random.chance(percent: 15) }.map(\.number)
        return (topology, reach, kind)
    }

    @Test("agrees with another way of finding it, on random hosts", arguments: 0..<300)
    func reference(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let (topology, reach, kind) = Self.random(&random)
        for disk in topology.nodes.map(\.name) where kind[disk] == "disk" {
            let uses = topology.uses(ofDisk: disk)
            let reaching = topology.nodes.filter { reach[$0.name]?.contains(disk) == true }
            let family = topology.nodes.filter { $0.name == disk || $0.parent == disk }.map(\.name)
            var expected: [String] = []
            for node in reaching where kind[node.name] == "dm" && node.slaves.contains(where: family.contains) {
                expected.append("held by \(node.name)")
            }
            for node in reaching where kind[node.name] == "loop" { expected.append("backs \(node.name)") }
            for swap in topology.swaps where reach[swap]?.contains(disk) == true { expected.append("\(swap) is swap") }
            for mount in topology.mounts where reach[String(mount.source.dropFirst(5))]?.contains(disk) == true {
                expected.append("mounted at \(mount.target)")
            }
            for number in topology.systemNumbers where reaching.contains(where: { $0.number == number }) {
                expected.append("holds the file system \(number) this host runs from")
            }
            #expect(uses.map(\.detail).sorted() == expected.sorted(), "seed \(seed), \(disk)")
        }
    }
}
