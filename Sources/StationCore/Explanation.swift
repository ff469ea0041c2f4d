/// One condition on the way of a card, and whether it is met.
package struct Gate: Equatable, Codable, Sendable {
    /// `declared`, `reader`, `assigned`, `image`, `armed`, `card`, `memory`, `fresh`, `job`.
    package var gate: String
    package var isOpen: Bool
    /// What is found, as a sentence.
    package var finding: String
    /// The command or the act that opens it; empty when it is open.
    package var remedy: String

    package init(_ gate: String, _ isOpen: Bool, _ finding: String, remedy: String = "") {
        self.gate = gate
        self.isOpen = isOpen
        self.finding = finding
        self.remedy = remedy
    }
}

/// Why nothing is happening in a slot, gate by gate.
package enum Explanation {
    /// - Parameters:
    ///   - isImageThere: whether the assigned image is in the library.
    ///   - elsewhere: the slot's reader, where it came up at the other speed class of its port.
    package static func gates(
        of machine: SlotMachine, isImageThere: Bool, elsewhere: DeviceRecord? = nil
    ) -> [Gate] {
        let name = machine.slot.name
        var gates = [
            Gate("declared", true, "\(name) is declared: \(machine.slot.place), reader \(machine.slot.reader)")
        ]
        if case .refused(let reason) = machine.activity {
            gates.append(
                Gate(
                    "reader", false, reason.explanation,
                    remedy: reason.remedy(slot: name, device: machine.device?.name ?? "DISK")))
        } else if let device = machine.device {
            gates.append(Gate("reader", true, "the declared reader is there as \(device.name) (\(device.model))"))
        } else if let elsewhere {
            gates.append(
                Gate(
                    "reader", false, otherSideFinding(machine.slot, elsewhere),
                    remedy: otherSideRemedy(machine.slot)))
        } else {
            gates.append(
                Gate(
                    "reader", true,
                    "no disk is at this place; readers that show themselves only with a card look like this too"))
        }
        if let preparation = machine.preparation {
            gates += preparationGates(preparation, name)
            gates.append(cardGate(machine))
            if let gate = activityGate(machine) { gates.append(gate) }
            return gates
        }
        if let assignment = machine.assignment {
            gates.append(
                Gate(
                    "assigned", true,
                    "\(assignment.image), \(Quantity.bytes(assignment.byteCount)), sha256 \(assignment.sha256.short)…"))
            gates.append(
                isImageThere
                    ? Gate("image", true, "the image is in the library")
                    : Gate(
                        "image", false, "the assigned image is not in the library",
                        remedy: "stationctl image import FILE, then stationctl assign \(name) --image NAME"))
        } else {
            gates.append(
                Gate("assigned", false, "nothing is assigned", remedy: "stationctl assign \(name) --image NAME"))
        }
        gates.append(
            machine.isArmed
                ? Gate("armed", true, "the slot is armed")
                : Gate(
                    "armed", false,
                    machine.disarmReason.map { "no card is written; disarmed by the station: \($0.explanation)" }
                        ?? "the slot is disarmed: no card is written",
                    remedy: machine.assignment == nil
                        ? "stationctl assign \(name) --image NAME assigns and arms"
                        : machine.disarmReason?.remedy(slot: name) ?? "stationctl arm \(name)"))
        gates.append(cardGate(machine))
        if let gate = memoryGate(machine) { gates.append(gate) }
        if let gate = activityGate(machine) { gates.append(gate) }
        return gates
    }

    /// What is found where a slot's reader came up at another speed class than declared.
    package static func otherSideFinding(_ slot: SlotDeclaration, _ device: DeviceRecord) -> String {
        "its reader came up as \(device.place?.speedTitle ?? "another USB"), as \(device.name.printable(limit: 20)); "
            + "declared is \(slot.place.speedTitle ?? "another place"), and nothing is written elsewhere"
    }

    package static func otherSideRemedy(_ slot: SlotDeclaration) -> String {
        "unplug the reader and plug it in again, swiftly and to the stop; try another cable; "
            + "to use it as it is: sudo stationctl slot relearn \(slot.name)"
    }

    private static func preparationGates(_ preparation: SlotMachine.Preparation, _ name: SlotName) -> [Gate] {
        let assigned = Gate("assigned", true, "the profile \(preparation.profile)")
        guard let problem = preparation.problem else {
            return [
                assigned,
                Gate(
                    "image", false, "its image is being built; a card that is inserted waits for it",
                    remedy: "wait; follow it: stationctl builds list"),
            ]
        }
        let again = "stationctl assign \(name) \(preparation.profile)"
        return [
            assigned,
            Gate(
                "image", false, "its image could not be built: \(problem.message)",
                remedy: problem.remedy.isEmpty ? again : "\(problem.remedy); then: \(again)"),
        ]
    }

    private static func cardGate(_ machine: SlotMachine) -> Gate {
        guard let device = machine.device, device.hasMedium else {
            return Gate("card", false, "there is no card in the slot", remedy: "insert a card")
        }
        return Gate("card", true, "a card of \(Quantity.bytes(device.byteCount)) is in")
    }

    /// Nil for a card that nothing is held against.
    private static func memoryGate(_ machine: SlotMachine) -> Gate? {
        guard let record = machine.cardRecord, let reproach = record.reproach else { return nil }
        return record.state == .condemned
            ? Gate("memory", false, "\(reproach): it is not tried again", remedy: record.remedy)
            : Gate("memory", true, reproach)
    }

    private static func activityGate(_ machine: SlotMachine) -> Gate? {
        let name = machine.slot.name
        switch machine.activity {
        case .noCard, .refused: return nil
        case .waiting(let waiting):
            switch waiting {
            case .sameCard:
                return Gate(
                    "fresh", false,
                    "within 10 s a card came back that begins with the same bytes: it may be the card before after a loss of contact",
                    remedy: "pull it, wait 10 s and insert it again, or: stationctl flash \(name)")
            case .wasInAlready:
                return Gate(
                    "fresh", false, "the card was in before the station was watching",
                    remedy: "pull it and insert it again, or: stationctl flash \(name)")
            case .preparing:
                return Gate(
                    "fresh", true, "the card waits for its image, and is begun when that is there")
            case .buildFailed:
                return Gate(
                    "fresh", false, "the card waited for an image that could not be built",
                    remedy: "assign again, when that is mended; then pull the card and insert it again")
            case .unassigned, .disarmed:
                return Gate(
                    "fresh", false,
                    "when the card came, the slot was \(waiting == .unassigned ? "not assigned" : "disarmed"); a card that is in is never begun by assigning or arming",
                    remedy: "pull it and insert it again, or: stationctl flash \(name)")
            }
        case .running(let running):
            if running.isStuck {
                return Gate(
                    "job", false, "the writer waits for the card in the kernel and gets no answer",
                    remedy: "pull the card; if that does not help, unplug the reader")
            }
            return Gate("job", true, "a job is under way: \(running.progress.phase.title)")
        case .latched(let finished):
            let verdict = finished.report.verdict
            let why = verdict.reason.map { ": \($0.explanation)" } ?? ""
            return Gate(
                "fresh", false, "this card is done: \(verdict.word)\(why)",
                remedy: verdict == .passed
                    ? "take it out and insert the next one"
                    : verdict.reason?.remedy(slot: name, device: finished.start.device.name)
                        ?? "take it out; insert it again to retry")
        }
    }
}
