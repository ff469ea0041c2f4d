/// Why the station itself disarmed a slot. The raw value is the stable code.
package enum DisarmReason: String, Codable, Sendable, CaseIterable {
    /// Three jobs in a row failed, on whatever cards: it may be the reader.
    case failuresInARow = "failures_in_a_row"
    /// Its slot file was there and could not be used.
    case slotFileUnusable = "slot_file_unusable"
    /// Its slot file names another place or another reader, and the station did not see when that changed.
    case slotMoved = "slot_moved"
    /// The station's state came out of a backup: here the same place may be another reader.
    case restored

    /// How many failures in a row disarm a slot.
    package static let failureLimit = 3

    /// One sentence for a person.
    package var explanation: String {
        switch self {
        case .failuresInARow:
            "\(Self.failureLimit) failures in a row: it may be the reader, not the cards"
        case .slotFileUnusable: "its slot file could not be used"
        case .slotMoved: "it was declared around another place or reader while the station was down"
        case .restored: "the station was restored from a backup: here its place may be another reader"
        }
    }

    /// What to do, for a person.
    package func remedy(slot: SlotName) -> String {
        switch self {
        case .failuresInARow:
            "try a card that is known to be good, another reader or cable; then: stationctl arm \(slot)"
        case .slotFileUnusable: "mend the file, then: sudo stationctl reload; stationctl arm \(slot)"
        case .slotMoved, .restored:
            "see that it is the reader that is meant: sudo stationctl slot show \(slot); then: stationctl arm \(slot)"
        }
    }
}

extension Verdict {
    /// Whether it is one more failure of the card, and of its slot's reader. A hand that pulls a card, a refusal, a cancelled
    /// job and trouble of the station's own are none.
    package var countsAsFailure: Bool {
        if case .failed(let reason) = self { reason.fault == .card } else { false }
    }
}
