import Glibc
package import StationCore
package import StationLinux

/// What the guard asks about the host. The real answers come from sysfs, `/proc` and the slot files; a test gives others.
package struct GuardSources: Sendable {
    /// All slot files that can be trusted, read now.
    package var slots: @Sendable () throws(StationError) -> [SlotDeclaration]
    /// The record of a disk by its kernel name; nil when it is not there.
    package var record: @Sendable (String) -> DeviceRecord?
    /// The number that sysfs gives a disk: `8:0`.
    package var number: @Sendable (DeviceRecord) -> String?
    /// All whole disks.
    package var disks: @Sendable () -> [DeviceRecord]
    package var topology: @Sendable () throws(StationError) -> DiskTopology
    /// Opens a disk for holding and for writing.
    package var hold: @Sendable (_ path: String) throws(SystemError) -> BlockDevice
    package var openForWriting: @Sendable (_ path: String) throws(SystemError) -> BlockDevice
    /// Opens a disk for reading past the cache.
    package var openForReading: @Sendable (_ path: String) throws(SystemError) -> BlockDevice = {
        (path: String) throws(SystemError) in try BlockDevice(reading: path)
    }
    /// The logical sector; no test bench has a disk whose sectors are too large.
    package var sectorByteCount: @Sendable (BlockDevice) throws(SystemError) -> Int = {
        (device: BlockDevice) throws(SystemError) in try device.sectorByteCount()
    }

    package init(
        slots: @escaping @Sendable () throws(StationError) -> [SlotDeclaration],
        record: @escaping @Sendable (String) -> DeviceRecord?, number: @escaping @Sendable (DeviceRecord) -> String?,
        disks: @escaping @Sendable () -> [DeviceRecord],
        topology: @escaping @Sendable () throws(StationError) -> DiskTopology,
        hold: @escaping @Sendable (_ path: String) throws(SystemError) -> BlockDevice = {
            (path: String) throws(SystemError) in try BlockDevice(holding: path)
        },
        openForWriting: @escaping @Sendable (_ path: String) throws(SystemError) -> BlockDevice = {
            (path: String) throws(SystemError) in try BlockDevice(writing: path)
        }
    ) {
        self.slots = slots
        self.record = record
        self.number = number
        self.disks = disks
        self.topology = topology
        self.hold = hold
        self.openForWriting = openForWriting
    }

    /// This host.
    package static func host(slots: @escaping @Sendable () throws(StationError) -> [SlotDeclaration]) -> GuardSources {
        GuardSources(
            slots: slots,
            record: { name in Sysfs.devicePath(ofBlockDevice: name).flatMap { Sysfs.record(devicePath: $0) } },
            number: { Sysfs.number(devicePath: $0.devicePath) }, disks: { Sysfs.allDisks() },
            topology: { () throws(StationError) in try DiskTopology.read() })
    }
}

/// A card that the guard let through, held exclusively as long as this lives.
package struct HeldCard: Sendable {
    package var slot: SlotDeclaration
    package var record: DeviceRecord
    /// Open read-only and exclusively.
    package var holding: BlockDevice
    package var identity: MediumIdentity
    package var sectorByteCount: Int
    package var signatures: SignatureProbe
    /// The marker of an earlier job that the card carries.
    package var marker: Marker?
    /// The SHA-256 of the card's first bytes.
    package var headSHA256: SHA256Digest?
}

/// Why the guard said no.
package struct Refusal: Error, Equatable, Sendable {
    package var reason: Reason
    package var detail: String

    package init(_ reason: Reason, _ detail: String) {
        self.reason = reason
        self.detail = detail
    }
}

/// Decides, in the writer and whatever the station said, whether a disk may be written. It opens nothing for writing; a card
/// that is refused never is.
package struct Guard: Sendable {
    private let slotName: SlotName
    private let protectedLabels: [String]
    private let sources: GuardSources
    private let checks: Set<Check>
    /// How long a busy disk is tried again, in seconds: our own last writer may still be closing it.
    private let busyPatience: Double

    package init(
        slot: SlotName, protectedLabels: [String], sources: GuardSources, checks: Set<Check> = .all,
        busyPatience: Double = 2
    ) {
        slotName = slot
        self.protectedLabels = protectedLabels
        self.sources = sources
        self.checks = checks
        self.busyPatience = busyPatience
    }

    /// Goes through all checks in their order and holds the disk. Blocks, for `busyPatience` at most besides reading.
    /// - Throws: `Refusal`.
    package func hold(_ request: JobRequest) throws(Refusal) -> HeldCard {
        let (slot, record) = try identify(request.disk)
        let path = "/dev/\(record.name)"
        let holding = try openExclusively(path, record)
        try check(.nodeNumber, .placeMismatch, "\(path) is not the device that sysfs shows") {
            try holding.descriptor.status().kind == .block
                && holding.descriptor.status().deviceNumber == sources.number(record)
        }
        let identity = try system(.noMedium) { () throws(SystemError) in try holding.identity() }
        try check(
            .sequence, .sequenceMismatch,
            "asked for disk sequence \(request.deviceSequence), \(record.name) has \(identity.sequence)"
        ) { identity.sequence == request.deviceSequence }
        try check(.writeProtection, .writeProtected, "\(record.name) is read-only") { try !holding.isReadOnly() }
        try checkSizes(slot, identity, request.content)
        let sector = try system(.sectorSizeUnsupported) { () throws(SystemError) in
            try sources.sectorByteCount(holding)
        }
        try check(.sectorSize, .sectorSizeUnsupported, "\(record.name) has sectors of \(sector) bytes") {
            [512, 1024, 2048, 4096].contains(sector)
        }
        SignatureProbe.prepare(holding.descriptor, cardByteCount: identity.byteCount)
        try checkUses(record.name)
        let signatures = try checkLabels(holding)
        let (marker, fingerprint) = try checkCondition(request.condition, holding)
        return HeldCard(
            slot: slot, record: record, holding: holding, identity: identity, sectorByteCount: sector,
            signatures: signatures, marker: marker, headSHA256: fingerprint)
    }

    /// Opens the second descriptor, for writing, and makes sure that it leads to the same medium.
    /// - Throws: `Refusal`.
    package func openForWriting(_ card: HeldCard) throws(Refusal) -> BlockDevice {
        try openAgain(card, sources.openForWriting)
    }

    /// Opens a second descriptor, for reading past the cache, and makes sure that it leads to the same medium.
    /// - Throws: `Refusal`.
    package func openForReading(_ card: HeldCard) throws(Refusal) -> BlockDevice {
        try openAgain(card, sources.openForReading)
    }

    private func openAgain(
        _ card: HeldCard, _ open: @Sendable (_ path: String) throws(SystemError) -> BlockDevice
    ) throws(Refusal) -> BlockDevice {
        let path = card.holding.path
        let device: BlockDevice
        do {
            device = try open(path)
        } catch {
            switch error.number {
            case EROFS: throw Refusal(.writeProtected, "\(error)")
            case EACCES, EPERM: throw Refusal(.permissionDenied, "\(error)")
            case EINVAL: throw Refusal(.directRefused, "\(path) cannot be opened past the cache")
            default: throw Refusal(.noMedium, "\(error)")
            }
        }
        try check(.nodeNumber, .placeMismatch, "\(path) became another device") {
            try device.descriptor.status().deviceNumber == card.holding.descriptor.status().deviceNumber
        }
        try check(.sequenceOfWriter, .sequenceMismatch, "another medium came before \(path) was opened again") {
            try device.identity() == card.identity
        }
        return device
    }

    // MARK: In their order

    private func identify(_ disk: String) throws(Refusal) -> (SlotDeclaration, DeviceRecord) {
        let slots: [SlotDeclaration]
        do {
            slots = try sources.slots()
        } catch {
            throw Refusal(Reason(rawValue: error.code) ?? .slotFileUntrusted, error.description)
        }
        guard let slot = slots.first(where: { $0.name == slotName }) else {
            throw Refusal(.slotUnknown, "\(slotName) is not declared")
        }
        guard let record = sources.record(disk.printable(limit: 32)) else {
            throw Refusal(.noMedium, "there is no disk \(disk.printable(limit: 32))")
        }
        try check(.wholeDisk, .notWholeDisk, "\(record.name) is not a whole disk") {
            record.isWholeDisk && !Eligibility.isMMCHardwarePartition(record.name)
        }
        try check(
            .place, .placeMismatch,
            "\(record.name) is at \(record.place?.description ?? "no place a card can be"), the slot at \(slot.place)"
        ) { record.place == slot.place }
        try check(.ambiguity, .slotAmbiguous, "more than one slot or disk claims \(slot.place)") {
            slots.count { $0.place == slot.place } == 1
                && !sources.disks().contains {
                    $0.place == slot.place && $0.name != record.name && !Eligibility.isMMCHardwarePartition($0.name)
                }
        }
        try check(
            .reader, .readerChanged,
            "the reader is \(record.reader?.description ?? "unknown"), declared was \(slot.reader)"
        ) { record.reader == slot.reader }
        if record.isOnMMCHost || slot.place.isMMC {
            let (kind, allowed) = (record.cardType ?? "unknown", slot.cardType)
            try check(.cardType, .cardTypeNotAllowed, "the medium is of type \(kind), CardType= is \(allowed.rawValue)")
            {
                allowed.allows(record.cardType)
            }
        }
        return (slot, record)
    }

    private func openExclusively(_ path: String, _ record: DeviceRecord) throws(Refusal) -> BlockDevice {
        let deadline = SystemClock.monotonicSeconds() + busyPatience
        while true {
            do {
                guard checks.contains(.exclusive) else {
                    return BlockDevice(path: path, descriptor: try Descriptor(opening: path, O_RDONLY))
                }
                return try sources.hold(path)
            } catch {
                switch error.number {
                case EBUSY where SystemClock.monotonicSeconds() < deadline:
                    usleep(50_000)
                case EBUSY:
                    // The kernel says that somebody has it; the topology says who.
                    let use = (try? sources.topology())?.uses(ofDisk: record.name).first
                    throw Refusal(use?.reason ?? .deviceBusy, use?.detail ?? "\(error)")
                case EACCES, EPERM: throw Refusal(.permissionDenied, "\(error)")
                default: throw Refusal(.noMedium, "\(error)")
                }
            }
        }
    }

    private func checkSizes(_ slot: SlotDeclaration, _ identity: MediumIdentity, _ content: Content) throws(Refusal) {
        let size = identity.byteCount
        guard size > 0 else { throw Refusal(.noMedium, "the disk has no medium") }
        try check(.sizeLimits, .cardTooSmall, "\(size) bytes, the slot takes \(slot.minimumByteCount) at least") {
            size >= slot.minimumByteCount
        }
        try check(.sizeLimits, .cardTooLarge, "\(size) bytes, the slot takes \(slot.maximumByteCount) at most") {
            size <= slot.maximumByteCount
        }
        try check(.contentFits, .contentTooLarge, "the image has \(content.byteCount) bytes, the card \(size)") {
            content.byteCount <= size
        }
    }

    private func checkUses(_ disk: String) throws(Refusal) {
        let topology: DiskTopology
        do {
            topology = try sources.topology()
        } catch {
            throw Refusal(.internalError, error.description)
        }
        for use in topology.uses(ofDisk: disk) {
            let kind: Check =
                switch use {
                case .held: .held
                case .loop: .loop
                case .swap: .swap
                case .mount: .mounted
                case .system: .systemDisk
                }
            try check(kind, use.reason, use.detail) { false }
        }
    }

    private func checkLabels(_ holding: BlockDevice) throws(Refusal) -> SignatureProbe {
        let signatures: SignatureProbe
        do {
            signatures = try SignatureProbe(reading: holding.descriptor)
        } catch {
            guard checks.contains(.protectedLabel) else { return SignatureProbe() }
            throw Refusal(.readError, error.description)
        }
        for name in signatures.names {
            let isProtected = protectedLabels.contains { $0.lowercased() == name.lowercased() }
            try check(.protectedLabel, .protectedLabel, "“\(name.printable(limit: 60))” is protected") { !isProtected }
        }
        return signatures
    }

    private func checkCondition(_ condition: JobRequest.Condition, _ holding: BlockDevice) throws(Refusal)
        -> (Marker?, SHA256Digest?)
    {
        let head = AlignedBuffer(byteCount: CardHead.byteCount)
        let got = try system(.noMedium) { () throws(SystemError) in try holding.read(into: head.bytes, at: 0) }
        let bytes = UnsafeRawBufferPointer(head.prefix(got))
        let marker = Marker(bytes)
        let fingerprint = CardHead.fingerprint(bytes)
        switch condition {
        case .none: break
        case .unlessHead(let digest):
            try check(.condition, .sameCard, "the card's first bytes are those of the card before") {
                fingerprint != digest
            }
        case .onlyIfMarked(let jobs):
            try check(.condition, .wasInAlready, "the card carries no marker of an unfinished job") {
                marker.map { $0.state == .unfinished && jobs.contains($0.job) } ?? false
            }
        }
        return (marker, fingerprint)
    }

    // MARK: Helpers

    /// Refuses unless the condition holds, or the check was taken out. A question that cannot be answered is a refusal.
    private func check(_ check: Check, _ reason: Reason, _ detail: String, _ holds: () throws -> Bool) throws(Refusal) {
        guard checks.contains(check) else { return }
        let answer: Bool
        do {
            answer = try holds()
        } catch {
            throw Refusal(reason, "\(error)")
        }
        if !answer { throw Refusal(reason, detail) }
    }

    private func system<Value>(_ reason: Reason, _ body: () throws(SystemError) -> Value) throws(Refusal) -> Value {
        do {
            return try body()
        } catch {
            throw Refusal(reason, error.description)
        }
    }
}
