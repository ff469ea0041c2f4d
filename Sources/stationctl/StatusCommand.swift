import StationCore
import StationLinux

/// `status`, `explain`: what slots do and why not.
enum StatusCommand {
    static let all = [
        Command(
            "status", operands: "[SLOT…]", count: 0...1000, summary: "Shows all slots at a glance",
            details: "A word in capitals wants a hand. The last line sums up.\nInto a pipe nothing is cut or wrapped.",
            examples: [
                "stationctl status", "stationctl status 'left-*' --json | jq -r '.slots[] | .name + \" \" + .state'",
            ],
            exits: Command.readingExits, run: status),
        Command(
            "explain", operands: "SLOT", count: 1...1, summary: "Says why nothing is happening in a slot, gate by gate",
            examples: ["stationctl explain slot1"], exits: Command.readingExits, run: explain),
    ]

    private static func status(_ context: Context) throws -> ExitCode {
        var status = try context.connect().call(.getStatus, as: Control.Status.self)
        status.slots = try context.select(status.slots, by: context.operands)
        if context.isJSON {
            context.console.json(status)
            return .success
        }
        show(status, on: context.console)
        return .success
    }

    private static func show(_ status: Control.Status, on console: Console) {
        if status.slots.isEmpty {
            console.line("No slot is declared yet. Declare the first one:")
            console.line("  sudo stationctl slot learn slot1")
        } else {
            for line in table(status.slots).lines(on: console, width: console.width) { console.line(line) }
        }
        for problem in status.problems {
            console.paragraph(
                problem.message.printable(limit: 1000), indent: 4, first: console.styled("!   ", .bad))
            if !problem.remedy.isEmpty { console.paragraph("→ \(problem.remedy.printable(limit: 1000))", indent: 4) }
        }
        guard !status.slots.isEmpty else { return }
        console.line()
        console.line(StationSummary(status.slots).line(width: console.width).text(on: console, width: console.width))
    }

    private static func table(_ slots: [SlotStatus]) -> Table {
        let hasLights = slots.contains { !$0.lights.all.isEmpty }
        var columns: [Table.Column] = [
            .init(heading: "SLOT", resists: 1, keepsEnds: true), .init(heading: "STATE", minimum: 14, resists: 2),
            .init(heading: "IMAGE", minimum: 10, keepsEnds: true, needsWidth: 50),
            .init(heading: "CARD", resists: 1, needsWidth: 64),
        ]
        if hasLights { columns.append(.init(heading: "LIGHT", needsWidth: 72)) }
        var table = Table(columns: columns)
        for slot in slots {
            let state = SlotText.state(slot)
            var line = StyledLine(state.word ?? "", state.wordStyle)
            line.add((state.word == nil ? "" : ": ") + state.text, state.style)
            table.notes[table.rows.count] = SlotText.notes(slot)
            var row: [Table.Cell] = [
                .init(slot.name.text), .init(line), .init(SlotText.image(slot)),
                .init(SlotText.card(slot), slot.card == nil ? .faint : .plain),
            ]
            if hasLights { row.append(.init(SlotText.light(slot))) }
            table.rows.append(row)
        }
        return table
    }

    private static func explain(_ context: Context) throws -> ExitCode {
        let reply = try context.connect().call(
            .explain, Control.SlotQuery(slot: context.operands[0]), as: Control.Gates.self)
        if context.isJSON {
            context.console.json(reply)
            return .success
        }
        let console = context.console
        let width = reply.gates.map(\.gate.count).max() ?? 0
        for gate in reply.gates {
            let mark = gate.isOpen ? console.styled("yes", .good) : console.styled("NO ", .bad)
            console.paragraph(
                gate.finding.printable(limit: 1000), indent: width + 7,
                first: "\(mark)  \(gate.gate.printable().padded(to: width))  ")
            if !gate.isOpen, !gate.remedy.isEmpty {
                console.paragraph("→ \(gate.remedy.printable(limit: 1000))", indent: width + 7)
            }
        }
        for note in reply.notes {
            console.line("\(console.styled("!  ", .attention))  \(note.message.printable(limit: 1000))")
            if !note.remedy.isEmpty { console.line("     → \(note.remedy.printable(limit: 1000))") }
        }
        return .success
    }
}
