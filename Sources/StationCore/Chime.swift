/// What a terminal or a console is to sound for: of the six meanings of `Signal`, those that somebody walks over for.
///
/// As different from each other as the lights are: one high tone, two long low ones, three short ones, so that they can also be
/// told where a bell has no pitch.
package enum Chime: Sendable, CaseIterable {
    // In the order in which they are played where several wait.
    case failed, help, passed

    /// Nil for what nobody has to walk over for.
    package init?(_ signal: Signal) {
        switch signal {
        case .failed: self = .failed
        case .help: self = .help
        case .passed: self = .passed
        case .dark, .ready, .busy: return nil
        }
    }

    /// One stroke of the bell.
    package struct Tone: Equatable, Sendable {
        package var hertz: Int
        /// The Linux console takes less than 2000.
        package var milliseconds: Int
    }

    package var tones: [Tone] {
        switch self {
        case .passed: [Tone(hertz: 1000, milliseconds: 200)]
        case .failed: Array(repeating: Tone(hertz: 220, milliseconds: 600), count: 2)
        case .help: Array(repeating: Tone(hertz: 500, milliseconds: 200), count: 3)
        }
    }
}

/// Hears from one status to the next what there is to sound for.
///
/// Only changes count. What is there at first, or after the station was away, is taken in without a sound: whoever is called by it
/// would find what has been so for hours. No job is sounded for twice in one way, whatever its slot goes through.
package struct ChimeChanges: Sendable {
    private struct Heard {
        var signal: Signal
        /// The last job, also when its card has left.
        var job: JobID?
        /// What was sounded for that job.
        var chimes: Set<Chime> = []
    }

    private var slots: [SlotName: Heard] = [:]

    package init() {}

    /// The station is away: its next status is a first one.
    package mutating func lose() { slots = [:] }

    /// Takes in the next status; several slots with the same news are one.
    package mutating func hear(_ status: [SlotStatus]) -> Set<Chime> {
        var news: Set<Chime> = []
        var next: [SlotName: Heard] = [:]
        for slot in status {
            let before = slots[slot.name]
            var heard = before ?? Heard(signal: slot.signal, job: nil)
            let isOtherJob = slot.job != nil && slot.job?.id != heard.job
            if isOtherJob {
                heard.job = slot.job?.id
                heard.chimes = []
            }
            let isChange = before != nil && (slot.signal != heard.signal || isOtherJob)
            heard.signal = slot.signal
            if let chime = Chime(slot.signal) {
                let isNew = slot.job == nil || heard.chimes.insert(chime).inserted
                if isChange, isNew { news.insert(chime) }
            }
            next[slot.name] = heard
        }
        slots = next
        return news
    }
}

/// Puts chimes one after the other: no two at once, none cut short, and of those that wait one of each kind, so that sixteen cards
/// that pass together are heard for a second and not for a minute. Times are of any clock that does not jump.
package struct ChimeQueue: Sendable {
    /// Silence between two tones of a chime, and between two chimes, in seconds.
    package static let toneGap = 0.15
    package static let chimeGap = 0.7

    private var waiting: Set<Chime> = []
    /// What is left of the one that is being played.
    private var tones: ArraySlice<Chime.Tone> = []
    private var freeAt = -Double.infinity

    package init() {}

    package mutating func add(_ chimes: Set<Chime>) { waiting.formUnion(chimes) }

    /// When `next` has something to play, at the earliest; nil while nothing waits.
    package var nextAt: Double? { waiting.isEmpty && tones.isEmpty ? nil : freeAt }

    /// The tone to begin now; nil when it is not time, or nothing waits.
    package mutating func next(now: Double) -> Chime.Tone? {
        guard now >= freeAt else { return nil }
        if tones.isEmpty, let chime = Chime.allCases.first(where: waiting.contains) {
            waiting.remove(chime)
            tones = chime.tones[...]
        }
        guard let tone = tones.popFirst() else { return nil }
        freeAt = now + Double(tone.milliseconds) / 1000 + (tones.isEmpty ? Self.chimeGap : Self.toneGap)
        return tone
    }
}
