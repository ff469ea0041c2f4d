/// What the journal says of cards that are known, and of slots that are conspicuous.
extension JournalEntry {
    /// The station took a slot's arming away.
    package static func slotDisarmedByFailures(
        _ slot: SlotName, _ reason: DisarmReason, assignment: Assignment?
    ) -> JournalEntry {
        let remedy = reason.remedy(slot: slot)
        return JournalEntry(
            .slotDisarmedByFailures, .error, "\(slot): DISARMED — \(reason.explanation); \(remedy)",
            [
                .slot: slot.text, .image: assignment?.image.text, .imageSHA256: assignment?.sha256.hexadecimal,
                .profile: assignment?.profile, .reason: reason.rawValue, .remedy: remedy,
            ])
    }

    /// A card came back that failed here before; nil for one that nothing is held against.
    package static func cardSuspect(_ slot: SlotName, _ record: CardRecord, _ device: DeviceRecord) -> JournalEntry? {
        guard let reproach = record.reproach, let failure = record.lastFailure else { return nil }
        return JournalEntry(
            .cardSuspect, .warning, "\(slot): \(reproach); \(record.remedy)",
            [
                .slot: slot.text, .device: device.name, .card: record.card.text, .cardID: device.cardID,
                .cardByteCount: String(device.byteCount), .job: failure.job.text, .reason: failure.reason.rawValue,
                .remedy: record.remedy,
            ])
    }

    package static func cardForgiven(_ record: CardRecord, callerUserID: UInt32) -> JournalEntry {
        JournalEntry(
            .cardForgiven, .notice, "Card \(record.card) forgiven: it is tried again (by uid \(callerUserID))",
            [.card: record.card.text, .callerUserID: String(callerUserID)])
    }

    /// A slot became conspicuous; nil for a note that is not about a slot's statistics.
    package static func slotConspicuous(_ slot: SlotName, _ note: StationError) -> JournalEntry? {
        let outcomes: [String: Outcome] = ["slot_failing": .slotFailing, "slot_slow": .slotSlow]
        guard let outcome = outcomes[note.code] else { return nil }
        return JournalEntry(
            outcome, .warning, "\(note.message); \(note.remedy)",
            [.slot: slot.text, .reason: note.code, .remedy: note.remedy])
    }
}
