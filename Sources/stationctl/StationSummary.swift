import StationCore

/// All slots in one line: which want a hand, how many do what.
struct StationSummary {
    /// Slots that do not go on without somebody, and what became of them.
    private let hands: [(name: SlotName, state: String)]
    private let slotCount: Int
    private var runningCount = 0
    private var passedCount = 0
    private var readyCount = 0
    /// Their image is being built.
    private var preparingCount = 0
    /// Disarmed, or with nothing assigned.
    private var idleCount = 0
    /// Until the last job that runs is done; nil where none runs or one cannot be told.
    private var secondsLeft: Double?

    init(_ slots: [SlotStatus]) {
        slotCount = slots.count
        let states = ["failed", "refused", "stuck", "waiting", "cancelled", "interrupted"]
        // A slot without an image wants a hand before its card comes.
        let wantsHand: (SlotStatus) -> Bool = { slot in
            if slot.preparation?.problem != nil { return !["running", "passed"].contains(slot.state) }
            return states.contains(slot.state) && !SlotText.isDryRunDone(slot) && slot.reason != "preparing"
        }
        hands = slots.filter(wantsHand).map { ($0.name, $0.preparation?.problem == nil ? $0.state : "without image") }
        for slot in slots where !wantsHand(slot) {
            switch slot.state {
            case "waiting" where SlotText.isPreparing(slot), "absent" where SlotText.isPreparing(slot),
                "empty" where SlotText.isPreparing(slot):
                preparingCount += 1
            case "running": runningCount += 1
            case "passed": passedCount += 1
            case "absent" where slot.isArmed && slot.assignment != nil,
                "empty" where slot.isArmed && slot.assignment != nil:
                readyCount += 1
            default: break
            }
        }
        idleCount = slotCount - hands.count - runningCount - passedCount - readyCount - preparingCount
        let left = slots.filter { $0.state == "running" }.map { $0.job?.secondsLeft }
        if !left.contains(nil) { secondsLeft = left.compactMap { $0 }.max() }
    }

    /// `8 slots: 2 want a hand (slot3 failed, slot5 waiting), 3 running (about 12 min), 1 passed, 2 ready`.
    /// - Parameter width: names that do not fit in it are left out; nil tells all.
    func line(width: Int? = nil) -> StyledLine {
        var rest = StyledLine()
        let estimate = secondsLeft.map { " (about \(Quantity.about(seconds: $0)))" } ?? ""
        for (count, text, style) in [
            (runningCount, "running" + estimate, .active), (passedCount, "passed", .good),
            (preparingCount, "getting images", .active), (readyCount, "ready", .plain), (idleCount, "idle", .faint),
        ] as [(Int, String, Console.Style)] where count > 0 {
            if rest.width > 0 || !hands.isEmpty { rest.add(", ") }
            rest.add("\(count) \(text)", style)
        }
        var line = StyledLine("\(slotCount) \(slotCount == 1 ? "slot" : "slots")", .strong)
        line.add(": ")
        if !hands.isEmpty {
            let text = "\(hands.count) \(hands.count == 1 ? "wants" : "want") a hand"
            let room = width.map { $0 - line.width - text.count - rest.width - 3 }
            line.add(text + names(room: room), hands.contains { $0.state == "failed" } ? .bad : .attention)
        }
        line.add(rest)
        return line
    }

    /// ` (slot3 failed, slot5 waiting)`, ` (slot3, slot5)`, ` (slot3 +1)`, or nothing: what there is room for.
    private func names(room: Int?) -> String {
        let told = hands.map { "\($0.name) \($0.state)" }.joined(separator: ", ")
        guard let room, told.count > room else { return " (\(told))" }
        let names = hands.map(\.name.text)
        if names.joined(separator: ", ").count <= room { return " (\(names.joined(separator: ", ")))" }
        for count in stride(from: names.count - 1, to: 0, by: -1) {
            let text = names.prefix(count).joined(separator: ", ") + " +\(names.count - count)"
            if text.count <= room { return " (\(text))" }
        }
        return ""
    }
}
