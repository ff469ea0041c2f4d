/// What the journal says of slots and of images.
extension JournalEntry {
    package static func slotAssigned(_ slot: SlotName, _ assignment: Assignment, callerUserID: UInt32) -> JournalEntry {
        consent(
            .slotAssigned, slot, assignment,
            "armed: its next cards get \(assignment.image), \(Quantity.bytes(assignment.byteCount)), "
                + "sha256 \(assignment.sha256.short)…", callerUserID)
    }

    /// - Parameter callerUserID: nil for the station itself, as where a slot's file is gone.
    package static func slotUnassigned(_ slot: SlotName, callerUserID: UInt32?) -> JournalEntry {
        consent(.slotUnassigned, slot, nil, "unassigned and disarmed: no card is written", callerUserID)
    }

    package static func slotArmed(_ slot: SlotName, _ assignment: Assignment?, callerUserID: UInt32) -> JournalEntry {
        let next = assignment.map { ": its next cards get \($0.image)" } ?? ""
        return consent(.slotArmed, slot, assignment, "armed\(next)", callerUserID)
    }

    /// - Parameter callerUserID: nil for the station itself, as where a slot's file went bad.
    package static func slotDisarmed(
        _ slot: SlotName, _ assignment: Assignment?, callerUserID: UInt32?
    ) -> JournalEntry {
        consent(.slotDisarmed, slot, assignment, "disarmed: no card is written until it is armed again", callerUserID)
    }

    private static func consent(
        _ outcome: Outcome, _ slot: SlotName, _ assignment: Assignment?, _ what: String, _ caller: UInt32?
    ) -> JournalEntry {
        let who = caller.map { "by uid \($0)" } ?? "by the station: its slot file is gone or cannot be used"
        return JournalEntry(
            outcome, .notice, "\(slot): \(what) (\(who))",
            [
                .slot: slot.text, .image: assignment?.image.text, .imageSHA256: assignment?.sha256.hexadecimal,
                .profile: assignment?.profile, .build: assignment?.build?.text,
                .callerUserID: caller.map { String($0) },
            ])
    }

    package static func imageImported(_ image: ImageRecord) -> JournalEntry {
        JournalEntry(
            .imageImported, .notice,
            "Image \(image.name) imported: \(Quantity.bytes(image.byteCount)), sha256 \(image.sha256.short)… "
                + "(by uid \(image.importedByUserID))",
            [
                .image: image.name.text, .imageSHA256: image.sha256.hexadecimal,
                .callerUserID: String(image.importedByUserID),
            ])
    }

    package static func imageRemoved(_ name: ImageName, _ sha256: SHA256Digest, callerUserID: UInt32) -> JournalEntry {
        JournalEntry(
            .imageRemoved, .notice, "Image \(name) removed (by uid \(callerUserID))",
            [.image: name.text, .imageSHA256: sha256.hexadecimal, .callerUserID: String(callerUserID)])
    }
}
