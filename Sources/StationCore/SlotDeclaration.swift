/// How thoroughly a card is emptied before an image goes onto it.
package enum WipeLevel: String, Codable, Sendable, CaseIterable {
    /// Nothing but the first MiB.
    case none
    /// No partition table and no file-system, RAID or LVM superblock, that the image did not put there.
    case signatures
    /// The card is told to forget everything, then as `signatures`.
    case discard
    /// Zeros from the image's end to the end of the card.
    case zero
}

/// How an image gets onto a card. Either way all of it is read back.
package enum WriteMode: String, Codable, Sendable, CaseIterable {
    /// Everything is written.
    case full
    /// The card is read first, and only what is not there yet is written; nothing where all of it is.
    case update
}

/// What happens to a card that was already in when the station came up.
package enum AtBoot: String, Codable, Sendable, CaseIterable {
    case wait, write
}

/// Which media of an MMC host a slot takes. A reader on USB that shows its cards as SCSI disks does not tell them apart.
package enum CardType: String, Codable, Sendable, CaseIterable {
    /// What is inserted and pulled.
    case sd = "SD"
    /// What is soldered in, as a rule: often the host's own disk.
    case mmc = "MMC"
    case any

    /// Whether a medium of this kind, as the kernel names it, may be written.
    package func allows(_ kind: String?) -> Bool {
        switch self {
        case .sd, .mmc: kind == rawValue
        case .any: kind == CardType.sd.rawValue || kind == CardType.mmc.rawValue
        }
    }
}

/// One slot as root declared it in `/etc/flashing-station/slots.d/NAME.slot`.
package struct SlotDeclaration: Hashable, Codable, Sendable {
    package var name: SlotName
    package var place: Place
    package var reader: Reader
    package var wipe: WipeLevel
    package var mode: WriteMode
    package var atBoot: AtBoot
    package var cardType: CardType
    /// The smallest and the largest card, in bytes, that is taken for one.
    package var minimumByteCount: UInt64
    package var maximumByteCount: UInt64
    package var lights: SlotLights

    /// By what consent that was given to a slot is known to be for this one. It stands in the records: other words for the same place
    /// would disarm every slot.
    package var placeAndReader: String { "\(place); reader \(reader)" }

    /// 256 MB to 256 GB, counted as the labels on cards count, with 1 % to spare above.
    package static let defaultMinimumByteCount: UInt64 = 256_000_000
    package static let defaultMaximumByteCount: UInt64 = 258_560_000_000

    package init(
        name: SlotName, place: Place, reader: Reader, wipe: WipeLevel = .signatures, mode: WriteMode = .full,
        atBoot: AtBoot = .wait, cardType: CardType = .sd, minimumByteCount: UInt64 = defaultMinimumByteCount,
        maximumByteCount: UInt64 = defaultMaximumByteCount, lights: SlotLights = SlotLights()
    ) {
        self.name = name
        self.place = place
        self.reader = reader
        self.wipe = wipe
        self.mode = mode
        self.atBoot = atBoot
        self.cardType = cardType
        self.minimumByteCount = minimumByteCount
        self.maximumByteCount = maximumByteCount
        self.lights = lights
    }

    private static let keys = [
        "Place", "Reader", "Wipe", "Mode", "AtBoot", "CardType", "MinimumSize", "MaximumSize", "Light", "FailureLight",
    ]

    /// No size that a slot file names is smaller, in bytes: the head of an image alone is a MiB.
    package static let leastByteCount: UInt64 = 1 << 20

    /// Reads the text of a slot file.
    /// - Parameter fileName: as it shall stand in messages.
    /// - Throws: `config_syntax`, `config_key_unknown`, `slot_file_invalid`, `place_invalid`, `reader_invalid`,
    ///   `light_invalid`.
    package init(name: SlotName, fileName: String, text: String) throws(StationError) {
        let file = try KeyValueFile(name: fileName, text: text)
        var place: Place?
        var reader: Reader?
        var wipe = WipeLevel.signatures
        var mode = WriteMode.full
        var atBoot = AtBoot.wait
        var lights = SlotLights()
        var cardType = CardType.sd
        var sizes = [Self.defaultMinimumByteCount, Self.defaultMaximumByteCount]
        for entry in file.entries {
            guard entry.section == "Slot" else {
                throw file.error(
                    "slot_file_invalid", entry, "stands outside of [Slot]", remedy: "put [Slot] into the first line")
            }
            switch entry.key {
            case "Place": place = try Self.located(file, entry) { text throws(StationError) in try Place(text: text) }
            case "Reader":
                reader = try Self.located(file, entry) { text throws(StationError) in try Reader(text: text) }
            case "Wipe": wipe = try Self.choice(file, entry)
            case "Mode": mode = try Self.choice(file, entry)
            case "AtBoot": atBoot = try Self.choice(file, entry)
            case "Light", "FailureLight":
                let light = try Self.located(file, entry) { text throws(StationError) in try Light(text: text) }
                if entry.key == "Light" { lights.light = light } else { lights.failureLight = light }
            case "CardType": cardType = try Self.choice(file, entry)
            case "MinimumSize", "MaximumSize":
                guard let bytes = Quantity.parseBytes(entry.value), bytes >= Self.leastByteCount else {
                    throw file.error(
                        "slot_file_invalid", entry, "has no byte count of 1M or more",
                        remedy: "write bytes, or 256M, 32G (powers of 1024)")
                }
                sizes[entry.key == "MinimumSize" ? 0 : 1] = bytes
            default: throw file.unknownKey(entry, known: Self.keys)
            }
        }
        guard let place, let reader else {
            throw StationError(
                "slot_file_invalid", "\(fileName): \(place == nil ? "Place=" : "Reader=") is missing",
                remedy: "declare the slot with: stationctl slot learn \(name)")
        }
        if let problem = place.problem(with: reader) {
            throw StationError(
                "slot_file_invalid", "\(fileName): \(problem)",
                remedy: "let it be found: sudo stationctl slot learn \(name)")
        }
        guard sizes[0] <= sizes[1] else {
            throw StationError("slot_file_invalid", "\(fileName): MinimumSize= is larger than MaximumSize=")
        }
        guard mode == .full || wipe != .discard else {
            throw StationError(
                "slot_file_invalid",
                "\(fileName): Mode=update cannot be had with Wipe=discard, which forgets what is there",
                remedy: "leave one of the two lines out")
        }
        if let failureLight = lights.failureLight {
            guard let light = lights.light else {
                throw StationError(
                    "light_invalid", "\(fileName): FailureLight= stands there without Light=",
                    remedy: "a slot with one light has Light= only")
            }
            guard light.lamp != failureLight.lamp else {
                throw StationError(
                    "light_invalid", "\(fileName): Light= and FailureLight= are one light",
                    remedy: "a slot with one light has Light= only")
            }
        }
        self.init(
            name: name, place: place, reader: reader, wipe: wipe, mode: mode, atBoot: atBoot, cardType: cardType,
            minimumByteCount: sizes[0], maximumByteCount: sizes[1], lights: lights)
    }

    /// The places that the lines of a slot file name, also of one that has an error elsewhere.
    package static func placesNamed(in text: String) -> [Place] {
        text.split { $0 == "\n" || $0 == "\r\n" }.compactMap { line in
            let parts = line.split(separator: "=", maxSplits: 1).map { String($0).trimmed }
            return parts.count == 2 && parts[0] == "Place" ? try? Place(text: parts[1]) : nil
        }
    }

    /// The text of the slot file; reading it back gives the same declaration.
    package var fileText: String {
        var lines = ["# A flashing slot. Cards put into this place are WIPED. See station.slot(5).", "[Slot]"]
        lines += ["Place=\(place)", "Reader=\(reader)"]
        if wipe != .signatures { lines.append("Wipe=\(wipe.rawValue)") }
        if mode != .full { lines.append("Mode=\(mode.rawValue)") }
        if atBoot != .wait { lines.append("AtBoot=\(atBoot.rawValue)") }
        if cardType != .sd { lines.append("CardType=\(cardType.rawValue)") }
        if minimumByteCount != Self.defaultMinimumByteCount { lines.append("MinimumSize=\(minimumByteCount)") }
        if maximumByteCount != Self.defaultMaximumByteCount { lines.append("MaximumSize=\(maximumByteCount)") }
        if let light = lights.light { lines.append("Light=\(light)") }
        if let light = lights.failureLight { lines.append("FailureLight=\(light)") }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func located<Value>(
        _ file: KeyValueFile, _ entry: KeyValueFile.Entry, _ parse: (String) throws(StationError) -> Value
    ) throws(StationError) -> Value {
        do {
            return try parse(entry.value)
        } catch {
            throw file.error(error.code, entry, error.message, remedy: error.remedy)
        }
    }

    private static func choice<Value: RawRepresentable<String> & CaseIterable>(
        _ file: KeyValueFile, _ entry: KeyValueFile.Entry
    ) throws(StationError) -> Value {
        if let value = Value(rawValue: entry.value) { return value }
        throw file.error(
            "slot_file_invalid", entry, "cannot be “\(entry.value.printable(limit: 40))”",
            remedy: "one of: \(Value.allCases.map(\.rawValue).joined(separator: ", "))")
    }
}
