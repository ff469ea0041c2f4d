/// By what the station knows a card again: 32 lower-case hexadecimal digits.
///
/// Where a host shows the card's own identity (CID) it is that. Over USB it is the job in which the card failed first: a
/// failed card carries the key of its last job in its first MiB, and the store knows to which card that job belongs.
package struct CardKey: Hashable, TextCoded, Sendable {
    package let text: String

    /// Nil when the text is not 32 lower-case hexadecimal digits.
    package init?(_ text: String) {
        guard text.utf8.count == 32, text.isLowerHexadecimal else { return nil }
        self.text = text
    }

    /// A card that is first known by a job that failed on it.
    package init(firstFailure job: JobID) { text = job.text }

    package init(coded text: String) throws(StationError) {
        guard let value = CardKey(text) else {
            throw StationError("card_invalid", "a card has 32 hexadecimal digits", remedy: "see stationctl card list")
        }
        self = value
    }

    package var description: String { text }
}

/// What a writer can tell of a card before anything is written to it.
package struct CardTraits: Equatable, Codable, Sendable {
    /// The identity an MMC host shows; nil over USB.
    package var cardID: String?
    /// The job whose marker the card carries.
    package var marker: JobID?

    package init(cardID: String? = nil, marker: JobID? = nil) {
        self.cardID = cardID
        self.marker = marker
    }

    /// Whether there is anything to know the card by.
    package var isKnowable: Bool { marker != nil || cardKey != nil }

    /// The key of a card that shows its identity.
    package var cardKey: CardKey? { cardID.flatMap { CardKey($0) } }
}

/// What the station thinks of a card.
package enum CardState: String, Codable, Sendable, CaseIterable {
    /// It never failed.
    case good
    /// It failed, and did not pass since.
    case suspect
    /// It failed too often, and is refused until somebody forgives it.
    case condemned
    /// It failed, and then passed.
    case recovered
    /// It failed, and somebody let it begin anew.
    case forgiven
}

/// One card as the store remembers it.
package struct CardRecord: Equatable, Codable, Sendable {
    /// By what it is known.
    package enum Identity: String, Codable, Sendable {
        /// Its own identity, as an MMC host shows it.
        case cid
        /// The marker of a failed job in its first MiB; gone when the card passes, or is wiped elsewhere.
        case marker
    }

    /// A job that failed on it.
    package struct Failure: Equatable, Codable, Sendable {
        package var job: JobID
        package var slot: SlotName
        package var reason: Reason
        /// Seconds since 1970, and whether the clock could be believed.
        package var at: Double
        package var wasClockSynchronised: Bool

        package init(job: JobID, slot: SlotName, reason: Reason, at: Double, wasClockSynchronised: Bool) {
            self.job = job
            self.slot = slot
            self.reason = reason
            self.at = at
            self.wasClockSynchronised = wasClockSynchronised
        }
    }

    /// So many failures without a pass between them condemn a card.
    package static let failureLimit = 3

    package var card: CardKey
    package var identity: Identity
    package private(set) var state: CardState
    package var byteCount: UInt64
    /// What the reader called itself when the card was seen last.
    package var model: String
    /// When its first and its last job ended, in seconds since 1970.
    package var firstSeenAt: Double
    package var lastSeenAt: Double
    package private(set) var passedCount: Int
    package private(set) var failedCount: Int
    /// Those since it passed last or was forgiven.
    package private(set) var failuresInARow: Int
    package private(set) var lastFailure: Failure?

    /// A card that is seen for the first time.
    package init(card: CardKey, identity: Identity, byteCount: UInt64, model: String, at seconds: Double) {
        self.init(
            card: card, identity: identity, state: .good, byteCount: byteCount, model: model, firstSeenAt: seconds,
            lastSeenAt: seconds, passedCount: 0, failedCount: 0, failuresInARow: 0, lastFailure: nil)
    }

    /// A card as it was kept.
    package init(
        card: CardKey, identity: Identity, state: CardState, byteCount: UInt64, model: String, firstSeenAt: Double,
        lastSeenAt: Double, passedCount: Int, failedCount: Int, failuresInARow: Int, lastFailure: Failure?
    ) {
        self.card = card
        self.identity = identity
        self.state = state
        self.byteCount = byteCount
        self.model = model
        self.firstSeenAt = firstSeenAt
        self.lastSeenAt = lastSeenAt
        self.passedCount = passedCount
        self.failedCount = failedCount
        self.failuresInARow = failuresInARow
        self.lastFailure = lastFailure
    }

    /// Whether somebody should be told when it comes back.
    package var isSuspect: Bool { state == .suspect || state == .condemned }

    /// It passed: whatever was held against it is over.
    package mutating func passed() {
        passedCount += 1
        failuresInARow = 0
        if state != .good { state = .recovered }
    }

    package mutating func failed(_ failure: Failure) {
        failedCount += 1
        failuresInARow += 1
        lastFailure = failure
        state = failuresInARow >= Self.failureLimit ? .condemned : .suspect
    }

    /// Somebody lets it begin anew; what it did stays on record.
    package mutating func forgive() {
        failuresInARow = 0
        if isSuspect { state = .forgiven }
    }

    /// `this card failed here on 3 March 2026 in slot2: data_mismatch (failure 2 of 3)`; nil for one that nothing is held
    /// against.
    package var reproach: String? {
        guard isSuspect, let lastFailure else { return nil }
        let day = lastFailure.wasClockSynchronised ? CalendarDay(secondsSince1970: lastFailure.at) : nil
        let count =
            state == .condemned
            ? "\(failuresInARow) failures in a row" : "failure \(failuresInARow) of \(Self.failureLimit)"
        return "this card failed here \(day.map { "on \($0)" } ?? "before") in \(lastFailure.slot): "
            + "\(lastFailure.reason.rawValue) (\(count))"
    }

    /// What tells it from others on a screen: identities of one make begin alike and are whole, of a job's key eight digits
    /// are enough.
    package var shortName: String { identity == .cid ? card.text : String(card.text.prefix(8)) }

    /// What to do about a card that something is held against.
    package var remedy: String {
        state == .condemned
            ? "set the card aside; if it is to be tried again: stationctl card forgive \(shortName)"
            : "set the card aside if it fails again"
    }
}
