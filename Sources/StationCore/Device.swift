/// One stay of one card in one slot: the boot and the kernel's disk sequence number, which counts up for every new medium.
///
/// Everything that concerns a card carries it, so that a late answer can never touch the next card.
package struct InsertionToken: Hashable, Codable, Sendable, CustomStringConvertible {
    package var bootID: String
    package var deviceSequence: UInt64

    package init(bootID: String, deviceSequence: UInt64) {
        self.bootID = bootID
        self.deviceSequence = deviceSequence
    }

    package var description: String { "\(bootID.prefix(8)).\(deviceSequence)" }
}

/// A block device as the kernel and udev describe it: plain values, taken once, at the edge.
package struct DeviceRecord: Hashable, Codable, Sendable {
    /// The kernel's name, such as `sda`.
    package var name: String
    /// The path below `/sys`, beginning with `/devices/`.
    package var devicePath: String
    /// False for a partition.
    package var isWholeDisk: Bool
    /// The kernel's disk sequence number; nil where it is not known.
    package var deviceSequence: UInt64?
    /// 0 for a reader without a card.
    package var byteCount: UInt64
    package var isReadOnly: Bool
    /// Nil for a disk on neither USB nor MMC.
    package var place: Place?
    /// The same port at its other speed class, where a reader on USB has one.
    package var otherSide: Place?
    package var reader: Reader?
    /// What the reader calls itself, made printable.
    package var model: String
    /// The identity (CID) that an SD host shows of its card; nil for a reader whose cards are SCSI disks.
    package var cardID: String?
    /// `SD` or `MMC` for an SD host; nil for other readers.
    package var cardType: String?

    package init(
        name: String, devicePath: String, isWholeDisk: Bool = true, deviceSequence: UInt64?, byteCount: UInt64,
        isReadOnly: Bool = false, place: Place?, otherSide: Place? = nil, reader: Reader?, model: String = "",
        cardID: String? = nil, cardType: String? = nil
    ) {
        self.name = name
        self.devicePath = devicePath
        self.isWholeDisk = isWholeDisk
        self.deviceSequence = deviceSequence
        self.byteCount = byteCount
        self.isReadOnly = isReadOnly
        self.place = place
        self.otherSide = otherSide
        self.reader = reader
        self.model = model
        self.cardID = cardID
        self.cardType = cardType
    }

    /// Whether there is a medium in it.
    package var hasMedium: Bool { byteCount > 0 }

    /// Whether it is behind an SD or MMC host, which tells what kind of card it is and which one.
    package var isOnMMCHost: Bool { name.hasPrefix("mmcblk") || place?.isMMC == true }
}

/// What a device is to the station.
package enum Eligibility: Equatable, Sendable {
    /// Not a disk in a declared slot: nothing to do with us. The default answer.
    case notOurs
    /// The slot's reader, with no card in it.
    case emptySlot(SlotName)
    /// A card in a declared slot, which the guard will look at once more.
    case card(SlotName)
    /// Something is in a declared slot that must not be written.
    case refused(SlotName, Reason)

    /// Decides what one device is, knowing all declared slots and all devices there are.
    ///
    /// A pure function whose default answer is no: only a whole disk at exactly one declared place, with the reader that
    /// was declared there, is a card.
    package static func decide(
        _ record: DeviceRecord, slots: [SlotDeclaration], devices: [DeviceRecord]
    ) -> Eligibility {
        guard record.isWholeDisk, !isMMCHardwarePartition(record.name), let place = record.place else {
            return .notOurs
        }
        let claims = slots.filter { $0.place == place }
        guard let slot = claims.first else { return .notOurs }
        guard claims.count == 1 else { return .refused(slot.name, .slotAmbiguous) }
        let rivals = devices.filter { $0.place == place && $0.isWholeDisk && $0.devicePath != record.devicePath }
        guard !rivals.contains(where: { !isMMCHardwarePartition($0.name) }) else {
            return .refused(slot.name, .slotAmbiguous)
        }
        guard record.reader == slot.reader else { return .refused(slot.name, .readerChanged) }
        guard record.hasMedium else { return .emptySlot(slot.name) }
        guard record.deviceSequence != nil else { return .refused(slot.name, .sequenceUnknown) }
        guard record.byteCount >= slot.minimumByteCount else { return .refused(slot.name, .cardTooSmall) }
        guard record.byteCount <= slot.maximumByteCount else { return .refused(slot.name, .cardTooLarge) }
        guard !record.isOnMMCHost || slot.cardType.allows(record.cardType) else {
            return .refused(slot.name, .cardTypeNotAllowed)
        }
        guard !record.isReadOnly else { return .refused(slot.name, .writeProtected) }
        return .card(slot.name)
    }

    /// Whether a slot's reader came up as this disk, on the side of its port that is of another speed class than declared:
    /// another place, so nothing is written there.
    package static func isOtherSide(of slot: SlotDeclaration, _ record: DeviceRecord) -> Bool {
        record.isWholeDisk && record.otherSide == slot.place && record.reader?.isOfMake(slot.reader) == true
    }

    /// `mmcblk0boot0`, `mmcblk0boot1`, `mmcblk0gp0`, `mmcblk0rpmb`: parts of a soldered chip, never cards.
    package static func isMMCHardwarePartition(_ name: String) -> Bool {
        guard name.hasPrefix("mmcblk") else { return false }
        return !name.dropFirst(6).allSatisfy { $0.isASCII && $0.isNumber }
    }
}
