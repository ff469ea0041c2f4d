@testable import CardWriting
import Glibc
import StationCore
import StationLinux
import StationTestSupport
import Synchronization
import Testing

/// The guard over answers that a test gives, with a real device at the end where there is one.
struct GuardBench: Sendable {
    /// Attached as long as this lives.
    let loop: LoopDevice?
    var slots: [SlotDeclaration]
    var record: DeviceRecord
    var number: String?
    var otherDisks: [DeviceRecord] = []
    var topology: DiskTopology
    var topologyError: StationError?
    var request: JobRequest
    var protectedLabels: [String] = ["OURBOX_DATA"]
    var checks = Set<Check>.all
    /// Not 0 on a device: a child of another test that is just being started has our descriptors for a moment.
    var busyPatience: Double
    var sectorByteCount: Int?
    var hold: @Sendable (String) throws(SystemError) -> BlockDevice
    var open: @Sendable (String) throws(SystemError) -> BlockDevice

    /// A card that passes all checks, on this device; without one, opening says that there is no medium.
    init(_ loop: LoopDevice?) throws {
        self.loop = loop
        busyPatience = loop == nil ? 0 : 5
        let name = loop?.name ?? "sdz"
        slots = [try Samples.slot()]
        record = Samples.card(name, sequence: loop?.sequence, byteCount: 16 << 20)
        number = loop?.number
        let node = DiskTopology.Node(name: name, number: loop?.number ?? "8:400")
        topology = DiskTopology(nodes: [node], mounts: [], swaps: [], systemNumbers: [])
        request = JobRequest(
            jobID: JobID(), disk: name, deviceSequence: loop?.sequence ?? 1,
            content: Content(byteCount: 1000, sha256: try Samples.digest("a")))
        let path = loop?.path
        hold = { (wanted: String) throws(SystemError) in
            guard let path, path == wanted else { throw SystemError("open", wanted, number: ENOMEDIUM) }
            return try BlockDevice(holding: path)
        }
        open = { (wanted: String) throws(SystemError) in
            guard let path, path == wanted else { throw SystemError("open", wanted, number: ENOMEDIUM) }
            return try BlockDevice(writing: path)
        }
    }

    /// What the guard said, and how often anything was opened for writing.
    struct Outcome: Sendable {
        var refusal: Refusal?
        var refusedAtHold = false
        var openings = 0
    }

    func run() throws -> Outcome {
        let opened = Opened()
        var sources = GuardSources(
            slots: { () throws(StationError) in slots }, record: { [record] in $0 == record.name ? record : nil },
            number: { [number] _ in number }, disks: { [record, otherDisks] in [record] + otherDisks },
            topology: { () throws(StationError) in
                if let topologyError { throw topologyError }
                return topology
            }, hold: hold,
            openForWriting: { (path: String) throws(SystemError) in
                opened.count()
                return try open(path)
            })
        if let sectorByteCount { sources.sectorByteCount = { (_: BlockDevice) throws(SystemError) in sectorByteCount } }
        let cardGuard = Guard(
            slot: try SlotName("slot1"), protectedLabels: protectedLabels, sources: sources, checks: checks,
            busyPatience: busyPatience)
        let card: HeldCard
        do {
            card = try cardGuard.hold(request)
        } catch {
            return Outcome(refusal: error, refusedAtHold: true, openings: opened.value)
        }
        do {
            _ = try cardGuard.openForWriting(card)
        } catch {
            return Outcome(refusal: error, openings: opened.value)
        }
        return Outcome(openings: opened.value)
    }

    /// Sees that the guard refuses for this reason, and that nothing was opened for writing.
    func expectRefusal(_ reason: Reason, _ note: String = "", sourceLocation: SourceLocation = #_sourceLocation) throws
    {
        let outcome = try run()
        #expect(
            outcome.refusal?.reason == reason, "\(outcome.refusal?.detail ?? "let through") \(note)",
            sourceLocation: sourceLocation)
        #expect(outcome.openings == 0, "\(note)", sourceLocation: sourceLocation)
        #expect(outcome.refusal?.detail.isEmpty == false, sourceLocation: sourceLocation)
    }
}

private final class Opened: Sendable {
    private let number = Mutex(0)
    func count() { number.withLock { $0 += 1 } }
    var value: Int { number.withLock { $0 } }
}

/// A fault that one check of the guard notices.
struct GuardFault: Sendable, CustomTestStringConvertible {
    var name: String
    var check: Check
    var reason: Reason
    /// How the device is made.
    var setUp = "true"
    var options = ""
    /// Whether it shows only when the disk is opened for the second time.
    var isLate = false
    var arrange: @Sendable (inout GuardBench, LoopDevice?) throws -> Void

    init(
        _ name: String, _ check: Check, _ reason: Reason, setUp: String = "true", options: String = "",
        isLate: Bool = false,
        arrange: @escaping @Sendable (inout GuardBench, LoopDevice?) throws -> Void = { _, _ in }
    ) {
        self.name = name
        self.check = check
        self.reason = reason
        self.setUp = setUp
        self.options = options
        self.isLate = isLate
        self.arrange = arrange
    }

    var testDescription: String { name }

    private static func alter(_ topology: inout DiskTopology, _ body: (inout DiskTopology, DiskTopology.Node) -> Void) {
        if let node = topology.nodes.first { body(&topology, node) }
    }

    /// In the order in which the guard asks.
    static let all: [GuardFault] = [
        GuardFault("a partition", .wholeDisk, .notWholeDisk) { bench, _ in bench.record.isWholeDisk = false },
        GuardFault("a disk at another place", .place, .placeMismatch) { bench, _ in
            bench.record.place = .usb(controller: "pci0000:00/0000:00:04.0", hubSpeed: 480, ports: "3", lun: 0)
        },
        GuardFault("two disks at one place", .ambiguity, .slotAmbiguous) { bench, _ in
            bench.otherDisks = [Samples.card("sdy", sequence: 99, place: bench.record.place)]
        },
        GuardFault("another reader", .reader, .readerChanged) { bench, _ in bench.record.reader?.product = "ffff" },
        GuardFault("a soldered chip on an MMC host", .cardType, .cardTypeNotAllowed) { bench, _ in
            for index in bench.slots.indices {
                bench.slots[index].place = Samples.mmcPlace
                if index == 0 { bench.slots[index].reader = .mmcHost }
            }
            if bench.record.place == Samples.usbPlace { bench.record.place = Samples.mmcPlace }
            for index in bench.otherDisks.indices { bench.otherDisks[index].place = Samples.mmcPlace }
            if bench.record.reader == Samples.reader { bench.record.reader = .mmcHost }
            bench.record.cardType = "MMC"
        },
        GuardFault("a disk that somebody holds", .exclusive, .deviceBusy) { bench, _ in
            bench.busyPatience = 0
            bench.hold = { (path: String) throws(SystemError) in throw SystemError("open", path, number: EBUSY) }
        },
        GuardFault("a node that is another device", .nodeNumber, .placeMismatch) { bench, _ in bench.number = "1:1" },
        GuardFault("a medium with another sequence number", .sequence, .sequenceMismatch) { bench, _ in
            bench.request.deviceSequence += 1
        },
        GuardFault("a write-protected card", .writeProtection, .writeProtected, options: "--read-only"),
        GuardFault("a card smaller than the slot takes", .sizeLimits, .cardTooSmall) { bench, _ in
            bench.slots[0].minimumByteCount = (16 << 20) + 1
        },
        GuardFault("a card larger than the slot takes", .sizeLimits, .cardTooLarge) { bench, _ in
            bench.slots[0].maximumByteCount = (16 << 20) - 1
        },
        GuardFault("a card smaller than the image", .contentFits, .contentTooLarge) { bench, _ in
            bench.request.content.byteCount = (16 << 20) + 1
        },
        GuardFault("sectors that are too large", .sectorSize, .sectorSizeUnsupported) { bench, _ in
            bench.sectorByteCount = 8192
        },
        GuardFault("a disk that RAID holds", .held, .deviceHeld) { bench, _ in
            alter(&bench.topology) { $0.nodes.append(.init(name: "md0", number: "9:0", slaves: [$1.name])) }
        },
        GuardFault("a disk under a loop device", .loop, .deviceBacksLoop) { bench, _ in
            alter(&bench.topology) {
                $0.nodes.append(
                    .init(name: "loop99", number: "7:99", backingFile: "/dev/\($1.name)", backingDevice: "0:5"))
            }
        },
        GuardFault("a disk that is swap", .swap, .deviceIsSwap) { bench, _ in
            alter(&bench.topology) { $0.swaps.append($1.name) }
        },
        GuardFault("a disk that is mounted", .mounted, .deviceMounted) { bench, _ in
            alter(&bench.topology) {
                $0.mounts.append(.init(number: $1.number, source: "/dev/\($1.name)", target: "/mnt"))
            }
        },
        GuardFault("the disk this host runs from", .systemDisk, .deviceIsSystemDisk) { bench, _ in
            alter(&bench.topology) { $0.systemNumbers.append($1.number) }
        },
        GuardFault(
            "a protected label", .protectedLabel, .protectedLabel, setUp: "mkfs.ext4 -q -F -L OURBOX_DATA $IMAGE"),
        GuardFault("the card of before", .condition, .sameCard) { bench, loop in
            guard let loop else { return }
            let buffer = AlignedBuffer(byteCount: CardHead.byteCount)
            _ = try Descriptor(opening: loop.path, O_RDONLY).read(into: buffer.bytes, at: 0)
            bench.request.condition = .unlessHead(
                try #require(CardHead.fingerprint(UnsafeRawBufferPointer(buffer.bytes))))
        },
        GuardFault("another medium at the second opening", .sequenceOfWriter, .sequenceMismatch, isLate: true) {
            bench, loop in
            guard let loop else { return }
            bench.open = { (path: String) throws(SystemError) in
                do { try loop.grow() } catch { throw SystemError("losetup", path, number: EIO) }
                return try BlockDevice(writing: path)
            }
        },
    ]
}
