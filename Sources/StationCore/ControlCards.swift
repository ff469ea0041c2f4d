/// What the control socket says of cards and of slots' statistics.
extension Control {
    /// Parameters of `ListCards`: what is nil does not filter.
    package struct CardQuery: Codable, Equatable, Sendable {
        /// A card's key, or that of a job that failed on it, or the beginning of either.
        package var card: String?
        /// A state's word.
        package var state: String?
        /// Seconds since 1970: cards seen at or after.
        package var since: Double?
        /// Those seen last, so many; 50 when nil, 10,000 at most.
        package var limit: Int?

        package init(card: String? = nil, state: String? = nil, since: Double? = nil, limit: Int? = nil) {
            self.card = card
            self.state = state
            self.since = since
            self.limit = limit
        }
    }

    /// Reply of `ListCards`, the one seen last first.
    package struct Cards: Codable, Equatable, Sendable {
        package var cards: [CardRecord]
        package init(cards: [CardRecord]) { self.cards = cards }
    }

    /// Parameters of `ForgiveCard`.
    package struct CardReference: Codable, Equatable, Sendable {
        package var card: String
        package init(card: String) { self.card = card }
    }

    /// Reply of `ForgiveCard`.
    package struct Card: Codable, Equatable, Sendable {
        package var card: CardRecord
        package init(card: CardRecord) { self.card = card }
    }

    /// Reply of `GetStatistics`.
    package struct Statistics: Codable, Equatable, Sendable {
        package var slots: [SlotStatistics]
        package init(slots: [SlotStatistics]) { self.slots = slots }
    }

    /// Each reply of `Inspect`; the last one has `inspection`.
    package struct InspectProgress: Codable, Equatable, Sendable {
        /// Bytes that were read and compared; both 0 as long as only tables are looked at.
        package var bytesDone: UInt64
        package var bytesTotal: UInt64
        package var inspection: CardInspection?

        package init(bytesDone: UInt64 = 0, bytesTotal: UInt64 = 0, inspection: CardInspection? = nil) {
            self.bytesDone = bytesDone
            self.bytesTotal = bytesTotal
            self.inspection = inspection
        }
    }
}
