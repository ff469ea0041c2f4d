@testable import CardWriting
import Glibc
import StationCore
import StationLinux
import StationTestSupport
import Synchronization
import Testing

@Suite("The guard, before it opens anything")
struct GuardTests {
    @Test("lets nothing through when the slot is not declared")
    func slotUnknown() throws {
        var bench = try GuardBench(nil)
        bench.slots = [try Samples.slot("slot2")]
        try bench.expectRefusal(.slotUnknown)
        bench.slots = []
        try bench.expectRefusal(.slotUnknown)
    }

    @Test(
        "hands on why the slot files cannot be trusted",
        arguments: ["slot_file_untrusted", "slot_file_invalid", "place_invalid"])
    func slotFileProblem(code: String) throws {
        let sources = GuardSources(
            slots: { () throws(StationError) in throw StationError(code, "the file says nonsense") },
            record: { _ in nil },
            number: { _ in nil }, disks: { [] },
            topology: { () throws(StationError) in throw StationError("x", "") },
            hold: { (_: String) throws(SystemError) in throw SystemError("open", "", number: EIO) },
            openForWriting: { (_: String) throws(SystemError) in throw SystemError("open", "", number: EIO) })
        let cardGuard = Guard(slot: try SlotName("slot1"), protectedLabels: [], sources: sources, busyPatience: 0)
        let request = try GuardBench(nil).request
        let refusal = #expect(throws: Refusal.self) { _ = try cardGuard.hold(request) }
        #expect(refusal?.reason == .slotFileUntrusted)
        #expect(refusal?.detail == "the file says nonsense")
    }

    @Test(
        "lets nothing through that is no disk",
        arguments: ["sdq", "", "../sdz", "sdz\u{1b}[2J", String(repeating: "x", count: 5000)])
    func noDisk(name: String) throws {
        var bench = try GuardBench(nil)
        bench.request.disk = name
        try bench.expectRefusal(.noMedium)
        let outcome = try bench.run()
        #expect(outcome.refusal?.detail.unicodeScalars.allSatisfy { $0.value >= 32 } == true)
    }

    @Test(
        "refuses parts of a soldered chip",
        arguments: ["mmcblk0boot0", "mmcblk1boot1", "mmcblk0rpmb", "mmcblk0gp0", "mmcblk0p1"])
    func hardwarePartitions(name: String) throws {
        var bench = try GuardBench(nil)
        bench.record.name = name
        bench.request.disk = name
        try bench.expectRefusal(.notWholeDisk)
    }

    @Test("refuses a place that two slots declare, and a disk that has none")
    func places() throws {
        var bench = try GuardBench(nil)
        bench.slots.append(try Samples.slot("slot2"))
        try bench.expectRefusal(.slotAmbiguous)
        bench = try GuardBench(nil)
        bench.record.place = nil
        try bench.expectRefusal(.placeMismatch)
    }

    @Test("does not take a soldered chip's own parts for a second disk")
    func partsAreNoRivals() throws {
        var bench = try GuardBench(nil)
        bench.otherDisks = [Samples.card("mmcblk0boot0", place: bench.record.place)]
        try bench.expectRefusal(.noMedium)
    }

    @Test(
        "refuses another reader of whatever difference",
        arguments: [
            Reader(vendor: "0bda", product: "0326", lunCount: 2), Reader(vendor: "0bdb", product: "0326", lunCount: 1),
            nil,
        ])
    func readers(reader: Reader?) throws {
        var bench = try GuardBench(nil)
        bench.record.reader = reader
        try bench.expectRefusal(.readerChanged)
    }

    @Test("takes only SD from an MMC host", arguments: ["MMC", "SDIO", "sd", nil])
    func cardTypes(type: String?) throws {
        var bench = try GuardBench(nil)
        bench.slots = [try Samples.slot(place: Samples.mmcPlace, reader: .mmcHost)]
        bench.record.place = Samples.mmcPlace
        bench.record.reader = .mmcHost
        bench.record.cardType = type
        try bench.expectRefusal(.cardTypeNotAllowed)
        bench.record.cardType = "SD"
        try bench.expectRefusal(.noMedium)
    }

    @Test("takes only SD from an SD host that sits behind USB, whatever its slot is", arguments: ["MMC", nil])
    func cardTypesBehindUSB(type: String?) throws {
        var bench = try GuardBench(nil)
        bench.record.name = "mmcblk0"
        bench.request.disk = "mmcblk0"
        bench.record.cardType = type
        try bench.expectRefusal(.cardTypeNotAllowed)
    }

    @Test("takes what the slot says from an MMC host, and nothing else")
    func declaredCardTypes() throws {
        for (allowed, type, reason) in [
            (CardType.mmc, "MMC", Reason.noMedium), (.mmc, "SD", .cardTypeNotAllowed), (.any, "SD", .noMedium),
            (.any, "MMC", .noMedium), (.any, "SDIO", .cardTypeNotAllowed), (.any, nil, .cardTypeNotAllowed),
        ] as [(CardType, String?, Reason)] {
            var bench = try GuardBench(nil)
            bench.slots = [try Samples.slot(place: Samples.mmcPlace, reader: .mmcHost)]
            bench.slots[0].cardType = allowed
            bench.record.place = Samples.mmcPlace
            bench.record.reader = .mmcHost
            bench.record.cardType = type
            try bench.expectRefusal(reason)
        }
    }

    @Test(
        "says why a disk cannot be opened",
        arguments: [
            (EACCES, Reason.permissionDenied), (EPERM, .permissionDenied), (ENOMEDIUM, .noMedium), (ENOENT, .noMedium),
            (ENXIO, .noMedium), (EIO, .noMedium), (EBUSY, .deviceBusy),
        ])
    func openErrors(number: Int32, reason: Reason) throws {
        var bench = try GuardBench(nil)
        bench.hold = { (path: String) throws(SystemError) in throw SystemError("open", path, number: number) }
        try bench.expectRefusal(reason)
    }

    @Test(
        "names who has a disk that is busy", arguments: GuardFault.all.filter { DiskTopology.checks.contains($0.check) }
    )
    func busyBecause(fault: GuardFault) throws {
        var bench = try GuardBench(nil)
        try fault.arrange(&bench, nil)
        bench.hold = { (path: String) throws(SystemError) in throw SystemError("open", path, number: EBUSY) }
        try bench.expectRefusal(fault.reason)
    }

    @Test("tries a busy disk again as long as it has patience")
    func busyForAMoment() throws {
        let tries = Mutex(0)
        var bench = try GuardBench(nil)
        bench.busyPatience = 60
        bench.hold = { (path: String) throws(SystemError) in
            let number = tries.withLock { (count: inout Int) -> Int in
                count += 1
                return count
            }
            throw SystemError("open", path, number: number < 3 ? EBUSY : EACCES)
        }
        try bench.expectRefusal(.permissionDenied)
        #expect(tries.withLock { $0 } == 3)
    }

    @Test("refuses in its order: of two faults the earlier one is named")
    func orderBeforeOpening() throws {
        let faults = GuardFault.all.prefix { $0.check != .nodeNumber }
        for (index, first) in faults.enumerated() {
            for second in faults[(index + 1)...] {
                var bench = try GuardBench(nil)
                try first.arrange(&bench, nil)
                try second.arrange(&bench, nil)
                try bench.expectRefusal(first.reason, "\(first.name) and \(second.name)")
            }
        }
    }

    @Test(
        "goes on to the next check without the one of the fault",
        arguments: GuardFault.all.prefix { $0.check != .exclusive })
    func slipsToTheDisk(fault: GuardFault) throws {
        var bench = try GuardBench(nil)
        try fault.arrange(&bench, nil)
        try bench.expectRefusal(fault.reason)
        bench.checks.remove(fault.check)
        try bench.expectRefusal(.noMedium)
    }
}

@Suite("The guard over a real block device", .enabled(if: LoopDevice.isAvailable, "needs root and loop devices"))
struct GuardOnDeviceTests {
    @Test("lets a good card through, holds it, and opens it for writing once", arguments: ["", "--sector-size 4096"])
    func good(options: String) throws {
        let outcome = try GuardBench(try LoopDevice(options: options)).run()
        #expect(outcome.refusal == nil)
        #expect(outcome.openings == 1)
    }

    @Test("refuses each fault, and lets it through without the check", arguments: GuardFault.all)
    func eachCheck(fault: GuardFault) throws {
        let loop = try LoopDevice(setUp: fault.setUp, options: fault.options)
        var bench = try GuardBench(loop)
        try fault.arrange(&bench, loop)
        if fault.isLate {
            #expect(try bench.run().refusal?.reason == fault.reason)
        } else {
            try bench.expectRefusal(fault.reason)
        }
        bench = try GuardBench(loop)
        try fault.arrange(&bench, loop)
        bench.checks.remove(fault.check)
        let outcome = try bench.run()
        #expect(outcome.refusal == nil, "\(outcome.refusal?.detail ?? "")")
    }

    @Test("refuses in its order: of two faults the earlier one is named")
    func order() throws {
        let plain = try LoopDevice()
        let labelled = try LoopDevice(setUp: "mkfs.ext4 -q -F -L OURBOX_DATA $IMAGE")
        let readOnly = try LoopDevice(options: "--read-only")
        let both = try LoopDevice(setUp: "mkfs.ext4 -q -F -L OURBOX_DATA $IMAGE", options: "--read-only")
        let faults = GuardFault.all.filter { !$0.isLate }
        for (index, first) in faults.enumerated() {
            for second in faults[(index + 1)...] {
                // A small and a large card are one check with two answers.
                let checks = [first.check, second.check]
                // Who has a busy disk is said at once.
                if first.check == .exclusive, DiskTopology.checks.contains(second.check) { continue }
                let loop =
                    checks.contains(.writeProtection)
                    ? (checks.contains(.protectedLabel) ? both : readOnly)
                    : (checks.contains(.protectedLabel) ? labelled : plain)
                var bench = try GuardBench(loop)
                try first.arrange(&bench, loop)
                try second.arrange(&bench, loop)
                try bench.expectRefusal(first.reason, "\(first.name) and \(second.name)")
            }
        }
    }

    @Test(
        "says why the second opening failed",
        arguments: [
            (EROFS, Reason.writeProtected), (EACCES, .permissionDenied), (EPERM, .permissionDenied),
            (EINVAL, .directRefused),
            (ENOMEDIUM, .noMedium), (ENXIO, .noMedium),
        ])
    func secondOpening(number: Int32, reason: Reason) throws {
        var bench = try GuardBench(try LoopDevice())
        bench.open = { (path: String) throws(SystemError) in throw SystemError("open", path, number: number) }
        let outcome = try bench.run()
        #expect(outcome.refusal?.reason == reason)
        #expect(!outcome.refusedAtHold)
    }

    @Test("does not write through a node that became another device")
    func nodeChanged() throws {
        let loop = try LoopDevice()
        let other = try LoopDevice()
        var bench = try GuardBench(loop)
        bench.open = { (_: String) throws(SystemError) in try BlockDevice(writing: other.path) }
        #expect(try bench.run().refusal?.reason == .placeMismatch)
        bench.checks.remove(.nodeNumber)
        #expect(try bench.run().refusal?.reason == .sequenceMismatch)
    }

    @Test("refuses what is no block device at all")
    func regularFile() throws {
        let loop = try LoopDevice()
        var bench = try GuardBench(loop)
        bench.hold = { (path: String) throws(SystemError) in
            do { return BlockDevice(path: path, descriptor: try TemporaryFile.readOnly([1, 2, 3])) } catch {
                throw SystemError("open", path, number: EIO)
            }
        }
        try bench.expectRefusal(.placeMismatch)
    }

    @Test("refuses when it cannot see who uses what")
    func topologyUnreadable() throws {
        var bench = try GuardBench(try LoopDevice())
        bench.topologyError = StationError("topology_unreadable", "nothing to be seen")
        try bench.expectRefusal(.internalError)
    }

    @Test("refuses a disk that another descriptor holds, and takes it when that is closed")
    func heldTwice() throws {
        let loop = try LoopDevice()
        var bench = try GuardBench(loop)
        do {
            let holder = try BlockDevice(holding: loop.path)
            bench.busyPatience = 0
            try bench.expectRefusal(.deviceBusy)
            withExtendedLifetime(holder) {}
        }
        bench.busyPatience = 5
        #expect(try bench.run().refusal == nil)
    }

    @Test("holds the card until nobody has it any more")
    func holdsOn() throws {
        let loop = try LoopDevice()
        var bench = try GuardBench(loop)
        let sources = GuardSources(
            slots: { [slots = bench.slots] () throws(StationError) in slots },
            record: { [record = bench.record] _ in record }, number: { [number = bench.number] _ in number },
            disks: { [] }, topology: { [topology = bench.topology] () throws(StationError) in topology })
        let cardGuard = Guard(slot: try SlotName("slot1"), protectedLabels: [], sources: sources, busyPatience: 5)
        let card = try cardGuard.hold(bench.request)
        #expect(card.sectorByteCount == 512)
        #expect(card.identity == MediumIdentity(sequence: bench.request.deviceSequence, byteCount: 16 << 20))
        bench.busyPatience = 0
        try bench.expectRefusal(.deviceBusy)
        withExtendedLifetime(card) {}
    }

    // MARK: What the host really uses

    @Test("refuses a disk that is mounted, with its place in the tree")
    func mounted() throws {
        let loop = try LoopDevice(setUp: "mkfs.ext4 -q -F $IMAGE")
        var bench = try GuardBench(loop)
        let target = try Shell.run(
            "D=$(mktemp -d /tmp/flashing-station-mount-XXXXXX); mount /dev/\(loop.name) $D && echo $D"
        ).trimmedLine
        defer { _ = try? Shell.run("umount \(target); rmdir \(target)") }
        bench.topology = try DiskTopology.read()
        bench.busyPatience = 0
        try bench.expectRefusal(.deviceMounted)
        #expect(try bench.run().refusal?.detail == "mounted at \(target)")
        bench.checks.remove(.exclusive)
        try bench.expectRefusal(.deviceMounted)
    }

    @Test("refuses a disk that is mounted in another namespace only")
    func mountedElsewhere() throws {
        let loop = try LoopDevice(setUp: "mkfs.ext4 -q -F $IMAGE")
        var bench = try GuardBench(loop)
        // It ends when our end of its socket is closed.
        let (child, socket) = try Shell.start("unshare -m sh -c 'mount \(loop.path) /mnt && echo >&3; read X <&3'")
        #expect(try socket.receive(limit: 10).bytes.count == 1)
        bench.topology = try DiskTopology.read()
        let uses = bench.topology.uses(ofDisk: loop.name)
        #expect(uses.contains(.mount("/mnt")), "\(uses)")
        bench.busyPatience = 0
        try bench.expectRefusal(.deviceMounted)
        _ = try socket.send(Array("end\n".utf8))
        _ = child.wait()
    }

    @Test("refuses a disk that is swap")
    func swap() throws {
        let loop = try LoopDevice(setUp: "mkswap $IMAGE")
        var bench = try GuardBench(loop)
        _ = try Shell.run("swapon \(loop.path)")
        defer { _ = try? Shell.run("swapoff \(loop.path)") }
        bench.topology = try DiskTopology.read()
        bench.busyPatience = 0
        try bench.expectRefusal(.deviceIsSwap)
    }

    @Test("refuses a disk that another loop device reads, which exclusive opening does not see")
    func looped() throws {
        let loop = try LoopDevice()
        var bench = try GuardBench(loop)
        let second = try Shell.run("losetup --find --show \(loop.path)").trimmedLine
        defer { _ = try? Shell.run("losetup -d \(second)") }
        bench.topology = try DiskTopology.read()
        try bench.expectRefusal(.deviceBacksLoop)
        bench.checks.remove(.loop)
        #expect(try bench.run().refusal == nil)
    }

    @Test("refuses a disk that another loop device reads through a node of another name")
    func loopedThroughNode() throws {
        let loop = try LoopDevice()
        var bench = try GuardBench(loop)
        let number = try #require(loop.number).split(separator: ":").joined(separator: " ")
        let lines = try Shell.run(
            """
            set -e
            D=$(mktemp -d /tmp/flashing-station-node-XXXXXX)
            mknod $D/card b \(number)
            echo $D
            losetup --find --show $D/card
            """)
        let words = lines.split(separator: "\n").map(String.init)
        try #require(words.count == 2)
        defer { _ = try? Shell.run("losetup -d \(words[1]); rm -rf \(words[0])") }
        bench.topology = try DiskTopology.read()
        try bench.expectRefusal(.deviceBacksLoop)
    }

    @Test("refuses a file system's file on the disk that a loop device reads")
    func loopOverFile() throws {
        let loop = try LoopDevice(byteCount: 32 << 20, setUp: "mkfs.ext4 -q -F $IMAGE")
        let script = """
            set -e
            D=$(mktemp -d /tmp/flashing-station-mount-XXXXXX)
            mount \(loop.path) $D
            truncate -s 4M $D/file
            echo $D
            losetup --find --show $D/file
            """
        let words = try Shell.run(script).split(separator: "\n").map(String.init)
        try #require(words.count == 2)
        defer { _ = try? Shell.run("losetup -d \(words[1]); umount \(words[0]); rmdir \(words[0])") }
        let uses = try DiskTopology.read().uses(ofDisk: loop.name)
        #expect(uses.contains(.loop(String(words[1].dropFirst(5)))))
        #expect(uses.contains(.mount(words[0])))
    }

    // MARK: What is on the card

    @Test(
        "finds a protected label or UUID anywhere on the card, whatever its case",
        arguments: [
            ("mkfs.ext4 -q -F -L OURBOX_DATA $IMAGE", "OURBOX_DATA"),
            ("mkfs.ext4 -q -F -L ourbox_data $IMAGE", "OURBOX_DATA"),
            ("mkfs.ext4 -q -F -U 11111111-2222-3333-4444-555555555555 $IMAGE", "11111111-2222-3333-4444-555555555555"),
            ("mkswap -L OURBOX_DATA $IMAGE", "OURBOX_DATA"),
        ])
    func labels(setUp: String, label: String) throws {
        let loop = try LoopDevice(setUp: setUp)
        var bench = try GuardBench(loop)
        bench.protectedLabels = [label]
        try bench.expectRefusal(.protectedLabel)
        bench.protectedLabels = ["ANOTHER"]
        #expect(try bench.run().refusal == nil)
    }

    @Test("finds a protected label inside a partition", arguments: ["", "--sector-size 4096"])
    func labelInPartition(options: String) throws {
        let loop = try LoopDevice(
            byteCount: 32 << 20, setUp: "mkfs.ext4 -q -F -L OURBOX_DATA -E offset=8388608 $IMAGE 16M", options: options)
        let unit: UInt64 = options.isEmpty ? 512 : 4096
        try Self.write(
            TableBytes.mbr([
                .init(first: (1 << 20) / unit, count: (4 << 20) / unit),
                .init(first: (8 << 20) / unit, count: (16 << 20) / unit),
            ]),
            to: loop)
        let bench = try GuardBench(loop)
        try bench.expectRefusal(.protectedLabel)
        let signatures = try SignatureProbe(reading: Descriptor(opening: loop.path, O_RDONLY))
        #expect(signatures.partitions == [1 << 20..<5 << 20, 8 << 20..<24 << 20])
    }

    @Test("reads garbage from a card without harm", arguments: 0..<20)
    func garbage(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let loop = try LoopDevice()
        var head = random.bytes(8192)
        if seed % 2 == 0 {
            head.replaceSubrange(
                0..<512, with: TableBytes.mbr([.init(first: random.next() >> 32, count: random.next() >> 32)]))
        }
        try Self.write(head, to: loop)
        #expect(try GuardBench(loop).run().refusal == nil, "seed \(seed)")
    }

    // MARK: Conditions

    @Test("goes by the marker a card carries")
    func markers() throws {
        let loop = try LoopDevice()
        let job = JobID()
        var bench = try GuardBench(loop)
        bench.request.condition = .onlyIfMarked([job])
        try bench.expectRefusal(.wasInAlready)
        for (marker, isTaken) in [
            (Marker(job: job, state: .unfinished), true), (Marker(job: JobID(), state: .unfinished), false),
            (Marker(job: job, state: .failed, reason: "write_error"), false),
            (Marker(job: job, state: .cancelled), false),
        ] {
            try Self.write(Array(marker.text.utf8) + [0], to: loop)
            #expect(try bench.run().refusal?.reason == (isTaken ? nil : .wasInAlready), "\(marker)")
            bench.request.condition = .none
            #expect(try bench.run().refusal == nil)
            bench.request.condition = .onlyIfMarked([JobID(), job])
        }
        bench.checks.remove(.condition)
        #expect(try bench.run().refusal == nil)
    }

    /// Writes to a device from its beginning, in whole pages.
    private static func write(_ bytes: [UInt8], to loop: LoopDevice) throws {
        let file = try Descriptor(opening: loop.path, O_WRONLY)
        try bytes.withUnsafeBytes { try file.write(all: $0) }
        try file.synchronise()
    }
}

extension DiskTopology {
    /// The checks that go by it.
    fileprivate static let checks: Set<Check> = [.held, .loop, .swap, .mounted, .systemDisk]
}

extension String {
    /// Without the line break at its end.
    fileprivate var trimmedLine: String { String(split(separator: "\n").last ?? "") }
}
