import StationCore

/// A slot's state in words for people. A word in capitals wants a hand.
enum SlotText {
    /// What a slot does: a word that is read from afar, where there is one, and the rest of it.
    struct State {
        var word: String?
        var text: String
        var style: Console.Style

        /// `FAILED: set the card aside`.
        var line: String { word.map { "\($0): \(text)" } ?? text }

        /// The style of the word on a ground of its colour.
        var wordStyle: Console.Style {
            switch style {
            case .good: .goodWord
            case .bad: .badWord
            default: .attentionWord
            }
        }
    }

    /// What the slot does, short enough for a column.
    static func state(_ slot: SlotStatus) -> State {
        switch slot.state {
        case "absent" where slot.elsewhere != nil:
            return State(word: "ABSENT", text: "reader is on another USB", style: .attention)
        case "absent" where slot.preparation != nil, "empty" where slot.preparation != nil:
            return isPreparing(slot)
                ? State(text: "image is made, card may come", style: .active)
                : State(word: "NO IMAGE", text: "build failed", style: .bad)
        case "absent", "empty":
            if slot.assignment == nil { return State(text: "nothing assigned", style: .faint) }
            return slot.isArmed
                ? State(text: "ready for a card", style: .plain) : State(text: "disarmed", style: .attention)
        case "waiting" where slot.reason == "preparing": return State(text: "waits for its image", style: .active)
        case "waiting": return State(word: "WAITS", text: waiting(slot.reason), style: .attention)
        case "running": return State(text: running(slot.job), style: .active)
        case "stuck": return State(word: "STUCK", text: "the card does not answer", style: .bad)
        case "passed": return State(word: "PASSED", text: "take it out", style: .good)
        case "refused" where isDryRunDone(slot): return State(text: "dry run: would be written", style: .active)
        case "failed", "refused":
            let text =
                switch fault(slot) {
                case .card?: "set the card aside"
                case .operation?: "insert it again"
                default: "call somebody"
                }
            return State(word: slot.state.uppercased(), text: text, style: .bad)
        case "cancelled", "interrupted":
            return State(word: slot.state.uppercased(), text: "not finished", style: .attention)
        default: return State(text: slot.state.printable(limit: 30), style: .plain)
        }
    }

    private static func waiting(_ reason: String?) -> String {
        switch reason {
        case "unassigned": "nothing was assigned"
        case "disarmed": "it was disarmed"
        case "same_card": "maybe the card before"
        case "build_failed": "no image for it"
        default: "it was in already"
        }
    }

    /// Why, and what to do, where the state does not say it all; then what else somebody should know.
    static func notes(_ slot: SlotStatus) -> [String] {
        stateNotes(slot)
            + slot.notes.flatMap { note in
                [note.message, note.remedy.isEmpty ? "" : "→ \(note.remedy)"].filter { !$0.isEmpty }
                    .map { $0.printable(limit: 500) }
            }
    }

    private static func stateNotes(_ slot: SlotStatus) -> [String] {
        switch slot.state {
        case "failed", "refused":
            guard !isDryRunDone(slot), let reason = slot.reason.flatMap(Reason.init(rawValue:)) else { return [] }
            // What is held against the card stands in a note of its own.
            if reason == .cardSuspect, slot.notes.contains(where: { $0.code == reason.rawValue }) { return [] }
            let detail = slot.job?.report?.detail ?? ""
            let why = reason.explanation + (detail.isEmpty ? "" : " (\(detail.printable(limit: 200)))")
            // The state says the remedy already, where it is only to set the card aside.
            return reason.remedy == state(slot).text ? [why] : [why, "→ \(reason.remedy)"]
        // What is wrong with the image stands in a note of its own.
        case "waiting" where ["preparing", "build_failed"].contains(slot.reason): return []
        case "waiting" where !slot.isArmed:
            let command = slot.assignment == nil ? "assign \(slot.name) --image NAME" : "arm \(slot.name)"
            return ["→ stationctl \(command), then pull the card and insert it again"]
        case "waiting": return ["→ pull it and insert it again, or: stationctl flash \(slot.name)"]
        case "cancelled", "interrupted": return ["→ pull it and insert it again: it is done anew"]
        case "absent":
            guard let came = slot.elsewhere?.speedTitle, let declared = slot.place.speedTitle else { return [] }
            return [
                "its reader came up as \(came), declared is \(declared)",
                "→ plug it in again, swiftly; try another cable; or: sudo stationctl slot relearn \(slot.name)",
            ]
        case "stuck": return ["→ pull the card; if that does not help, unplug the reader"]
        default: return []
        }
    }

    /// `31.9 GB sdb`.
    static func card(_ slot: SlotStatus) -> String {
        guard let card = slot.card else { return slot.state == "absent" ? "no reader or card" : "no card" }
        return "\(Quantity.bytes(card.byteCount)) \(card.device.printable(limit: 20))"
    }

    /// What its light does; of two, which one does it.
    static func light(_ slot: SlotStatus) -> String {
        guard slot.lights.light != nil else { return "–" }
        guard slot.lights.failureLight != nil else { return slot.signal.appearance }
        return switch slot.signal {
        case .dark: "dark"
        case .failed: "red steady"
        case .help: "red, \(slot.signal.appearance)"
        case .ready, .busy, .passed: "green \(slot.signal.appearance)"
        }
    }

    /// The image of the job, or the one that is assigned.
    static func image(_ slot: SlotStatus) -> String {
        (slot.job?.image ?? slot.assignment?.image)?.text ?? slot.preparation?.profile.printable(limit: 128) ?? "–"
    }

    /// The whole job's share that is done; nil while that is not known.
    static func percent(_ progress: JobProgress) -> Int? {
        guard progress.bytesTotal > 0 else { return nil }
        return Int(min(100, Double(progress.bytesDone) / Double(progress.bytesTotal) * 100))
    }

    /// `1:05`, `2:10:00`.
    static func countdown(_ seconds: Double) -> String {
        guard seconds.isFinite, seconds >= 0, seconds < 1e6 else { return "?" }
        let whole = Int(seconds.rounded(.up))
        let twoDigits: (Int) -> String = { $0 < 10 ? "0\($0)" : "\($0)" }
        return whole < 3600
            ? "\(whole / 60):\(twoDigits(whole % 60))"
            : "\(whole / 3600):\(twoDigits(whole % 3600 / 60)):\(twoDigits(whole % 60))"
    }

    /// `passed`, or `failed: write_error`.
    static func verdict(_ report: JobReport) -> String {
        if report.verdict.reason == .dryRun { return "dry run ok" }
        return report.verdict.word + (report.verdict.reason.map { ": \($0.rawValue)" } ?? "")
    }

    /// Whether the slot's image is being built.
    static func isPreparing(_ slot: SlotStatus) -> Bool { slot.preparation.map { $0.problem == nil } ?? false }

    static func isDryRunDone(_ slot: SlotStatus) -> Bool { slot.reason == Reason.dryRun.rawValue }

    private static func fault(_ slot: SlotStatus) -> Fault? { slot.reason.flatMap(Reason.init(rawValue:))?.fault }

    private static func running(_ job: SlotStatus.Job?) -> String {
        guard let progress = job?.progress else { return "running" }
        var text = progress.phase.title
        if let percent = percent(progress) { text += " \(percent) %" }
        if let left = job?.secondsLeft { text += ", about \(Quantity.about(seconds: left))" }
        return text
    }
}
