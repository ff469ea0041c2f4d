/// What a slot has to say to somebody who only sees its light: one of six meanings.
package enum Signal: String, Codable, Sendable, CaseIterable {
    /// The slot is disarmed, or the station is down.
    case dark
    /// Armed, and no card is in.
    case ready
    /// A job runs: do not touch.
    case busy
    /// Written and read back: take it out.
    case passed
    /// The card's own fault: set it aside.
    case failed
    /// Not a card's fault, or not decided by the card: call somebody.
    case help

    /// What the slot's light says now.
    ///
    /// A verdict belongs to the card that is in: disarming the slot does not take it back. Of a card that nobody judged, a
    /// disarmed slot says nothing; an armed one calls somebody, because it will do nothing about that card by itself.
    package init(_ machine: SlotMachine) {
        switch machine.activity {
        // A card may come while its image is built: it waits, and goes on by itself.
        case .noCard:
            self =
                machine.isArmed || machine.preparation.map { $0.problem == nil } ?? false
                ? .ready : machine.preparation == nil ? .dark : .help
        case .waiting(.preparing): self = .busy
        case .waiting(.buildFailed): self = .help
        case .waiting: self = machine.isArmed ? .help : .dark
        case .refused(let reason):
            guard machine.isArmed else {
                self = .dark
                return
            }
            self = reason.fault == .card ? .failed : .help
        case .running(let running): self = running.isStuck ? .help : .busy
        case .latched(let finished):
            switch finished.report.verdict {
            // A dry run has written nothing: to the light its card is one that waits.
            case .passed where finished.start.isDryRun, .refused(.dryRun): self = machine.isArmed ? .help : .dark
            case .passed: self = .passed
            case .failed(let reason), .refused(let reason): self = reason.fault == .card ? .failed : .help
            case .cancelled, .interrupted: self = .help
            }
        }
    }

    /// What it looks like on a slot's only light, short enough for a column.
    package var appearance: String {
        switch self {
        case .dark: "dark"
        case .ready: "wink"
        case .busy: "blinking"
        case .passed: "steady"
        case .failed: "2 flashes"
        case .help: "3 flashes"
        }
    }
}
