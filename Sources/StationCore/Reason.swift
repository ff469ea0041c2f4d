/// Whose business a verdict other than passed is.
package enum Fault: String, Codable, Sendable {
    /// Set the card aside.
    case card
    /// The card may be fine: the operator or the slot file has something to do.
    case operation
    /// Not a card's fault: call somebody.
    case station
}

/// Why a card was refused, or why a job failed. The raw value is the stable code.
package enum Reason: String, Codable, Sendable, CaseIterable {
    // Refusals: nothing was written.
    case slotFileUntrusted = "slot_file_untrusted"
    case configurationInvalid = "configuration_invalid"
    case slotUnknown = "slot_unknown"
    case slotAmbiguous = "slot_ambiguous"
    case placeMismatch = "place_mismatch"
    case readerChanged = "reader_changed"
    case notWholeDisk = "not_whole_disk"
    case cardTypeNotAllowed = "card_type_not_allowed"
    case permissionDenied = "permission_denied"
    case noMedium = "no_medium"
    case deviceBusy = "device_busy"
    case sequenceUnknown = "sequence_unknown"
    case sequenceMismatch = "sequence_mismatch"
    case writeProtected = "write_protected"
    case cardTooSmall = "card_too_small"
    case cardTooLarge = "card_too_large"
    case contentTooLarge = "content_too_large"
    case sectorSizeUnsupported = "sector_size_unsupported"
    case deviceHeld = "device_held"
    case deviceBacksLoop = "device_backs_loop"
    case deviceIsSwap = "device_is_swap"
    case deviceMounted = "device_mounted"
    case deviceIsSystemDisk = "device_is_system_disk"
    case protectedLabel = "protected_label"
    case cardSuspect = "card_suspect"
    case sameCard = "same_card"
    case wasInAlready = "was_in_already"
    case contentInvalid = "content_invalid"
    case dryRun = "dry_run"
    // Failures: the card was opened for writing.
    case cardChanged = "card_changed"
    case cardRemoved = "card_removed"
    case writeError = "write_error"
    case shortWrite = "short_write"
    case readError = "read_error"
    case directRefused = "direct_refused"
    case wipeIncomplete = "wipe_incomplete"
    case capacityFalse = "capacity_false"
    case markerMissing = "marker_missing"
    case dataMismatch = "data_mismatch"
    case hashMismatch = "hash_mismatch"
    case imageUnreadable = "image_unreadable"
    case imageMissing = "image_missing"
    case writerLost = "writer_lost"
    case writerUnreachable = "writer_unreachable"
    case storageFull = "storage_full"
    case internalError = "internal_error"

    /// One sentence for a person.
    package var explanation: String { text.explanation }

    /// What to do, for a person.
    package var remedy: String { text.remedy }

    /// Whose business it is.
    package var fault: Fault {
        switch self {
        case .cardTooSmall, .cardTooLarge, .writeProtected, .writeError, .shortWrite, .readError, .wipeIncomplete,
            .capacityFalse, .markerMissing, .dataMismatch, .sectorSizeUnsupported, .contentTooLarge, .cardSuspect:
            .card
        case .cardChanged, .cardRemoved, .sameCard, .wasInAlready, .noMedium, .sequenceMismatch, .dryRun:
            .operation
        default: .station
        }
    }

    private var text: (explanation: String, remedy: String) {
        switch self {
        case .slotFileUntrusted:
            ("the slot file may be written by others than root", "chown root: and chmod 644 the file in slots.d")
        case .configurationInvalid:
            (
                "the station's configuration cannot be used, and nobody knows which cards are protected",
                "mend the file: /usr/lib/flashing-station/stationd --check-config says what is wrong"
            )
        case .slotUnknown: ("no such slot is declared", "declare it: sudo stationctl slot learn NAME")
        case .slotAmbiguous:
            ("two disks or two slot files claim this place", "see stationctl slot list and remove one of the two")
        case .placeMismatch: ("the disk is not at the slot's place", "nothing: the station asked for the wrong disk")
        case .readerChanged:
            (
                "another reader is at this place than the one declared",
                "put the reader back, or: sudo stationctl slot relearn NAME"
            )
        case .notWholeDisk:
            ("it is a partition or a part of a soldered chip, not a card", "nothing: it is never written")
        case .cardTypeNotAllowed:
            (
                "the medium in this SD or MMC host is not of the type that the slot takes",
                "use an SD card; a soldered chip is not for cards' slots (CardType= in the slot file, station.slot(5))"
            )
        case .permissionDenied:
            (
                "the writer may not open the disk",
                "pull it and insert it again; if it stays so: stationctl explain SLOT, udevadm info /dev/DISK"
            )
        case .noMedium: ("there is no card in the reader any more", "insert a card")
        case .deviceBusy: ("somebody else has the disk open exclusively or mounted", "see lsblk; unmount it")
        case .sequenceUnknown: ("the kernel gives this disk no sequence number", "a kernel of 5.15 or newer is needed")
        case .sequenceMismatch:
            ("another card is in the reader than the one that was announced", "pull it and insert it again")
        case .writeProtected: ("the card is write-protected", "slide its lock switch, or use another card")
        case .cardTooSmall:
            ("the card is smaller than this slot allows", "use a larger card, or set MinimumSize= in the slot file")
        case .cardTooLarge:
            ("the disk is larger than this slot allows", "is it a card? then set MaximumSize= in the slot file")
        case .contentTooLarge: ("the image is larger than the card", "use a larger card")
        case .sectorSizeUnsupported: ("the disk's sectors are not of 512 to 4096 bytes", "use another card")
        case .deviceHeld: ("RAID, LVM or device-mapper holds the disk", "see lsblk, and release it")
        case .deviceBacksLoop: ("a loop device uses the disk", "see losetup -l, and detach it")
        case .deviceIsSwap: ("the host swaps onto the disk", "see swapon --show; this is not a card")
        case .deviceMounted: ("a file system of the disk is mounted", "see findmnt, and unmount it")
        case .deviceIsSystemDisk: ("this host runs from the disk", "check the slot file: this is not a card")
        case .protectedLabel:
            ("the disk carries a protected label or UUID", "take it out: it holds data that must be kept")
        case .cardSuspect:
            (
                "the card has failed here three times and is not tried again",
                "set the card aside; if it is to be tried again: stationctl card list, then stationctl card forgive CARD"
            )
        case .sameCard: ("it is the card that was in before, back after a short loss of contact", "take it out")
        case .wasInAlready:
            (
                "the card was in before the station was watching",
                "pull it and insert it again, or: stationctl flash SLOT"
            )
        case .contentInvalid: ("the job does not describe something that can be written", "assign the image again")
        case .dryRun:
            (
                "it was a dry run: the guard lets the card through and nothing was written",
                "without --dry-run it is written"
            )
        case .cardChanged:
            ("the card was exchanged while the job ran", "insert the card again and leave it in until told")
        case .cardRemoved: ("the card was pulled while the job ran", "insert it again and leave it in until told")
        case .writeError: ("the card failed to write", "set the card aside")
        case .shortWrite: ("the card took only a part of what was written", "set the card aside")
        case .readError: ("the card failed to read", "set the card aside")
        case .directRefused: ("the disk cannot be read past the cache", "use another reader")
        case .wipeIncomplete: ("what was wiped reads back as something else", "set the card aside")
        case .capacityFalse: ("the card does not hold what it claims to hold", "set the card aside: its size is a lie")
        case .markerMissing:
            ("what was written first did not arrive on the card", "set the card aside: it ignores writes")
        case .dataMismatch: ("what was read back is not what was written", "set the card aside")
        case .hashMismatch:
            ("the image no longer has the SHA-256 it was assigned with", "import it again and assign it again")
        case .imageUnreadable:
            ("the image could not be read", "check the station's storage, then import the image again")
        case .imageMissing:
            ("the assigned image is not in the library", "import it again: stationctl image import FILE")
        case .writerLost:
            ("the writer ended before its verdict", "insert the card again; see journalctl STATION_SLOT=NAME")
        case .writerUnreachable:
            (
                "the slot's writer could not be started",
                "systemctl status station-writer@NAME.socket station-writer@NAME"
            )
        case .storageFull:
            (
                "the station's disk is full, and no job begins that cannot be recorded",
                "make room (df -h), insert it again"
            )
        case .internalError: ("something went wrong inside the station", "see journalctl STATION_SLOT=NAME")
        }
    }
}

/// How a job ended.
package enum Verdict: Equatable, Sendable {
    /// Written, and read back from the medium, every byte.
    case passed
    case failed(Reason)
    /// Not opened for writing.
    case refused(Reason)
    /// Somebody asked for it.
    case cancelled
    /// The station, the writer or the power went away.
    case interrupted

    /// `passed`, `failed`, `refused`, `cancelled` or `interrupted`.
    package var word: String {
        switch self {
        case .passed: "passed"
        case .failed: "failed"
        case .refused: "refused"
        case .cancelled: "cancelled"
        case .interrupted: "interrupted"
        }
    }

    package var reason: Reason? {
        switch self {
        case .failed(let reason), .refused(let reason): reason
        default: nil
        }
    }

    /// Puts word and reason together again; nil for a word that is none, or a reason where none belongs.
    package init?(word: String, reason: Reason?) {
        switch (word, reason) {
        case ("passed", nil): self = .passed
        case ("failed", let reason?): self = .failed(reason)
        case ("refused", let reason?): self = .refused(reason)
        case ("cancelled", nil): self = .cancelled
        case ("interrupted", nil): self = .interrupted
        default: return nil
        }
    }
}

extension Verdict: CustomStringConvertible {
    package var description: String { reason.map { "\(word)(\($0.rawValue))" } ?? word }
}

extension Verdict: Codable {
    private enum CodingKeys: String, CodingKey { case verdict, reason }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let word = try values.decode(String.self, forKey: .verdict)
        let reason = try values.decodeIfPresent(Reason.self, forKey: .reason)
        guard let verdict = Verdict(word: word, reason: reason) else {
            throw DecodingError.dataCorruptedError(
                forKey: .verdict, in: values, debugDescription: "“\(word.printable(limit: 20))” is no verdict")
        }
        self = verdict
    }

    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(word, forKey: .verdict)
        try values.encodeIfPresent(reason, forKey: .reason)
    }
}
