import StationCore
import StationLinux

/// `watch`: a live picture on a terminal; a line for each change, or JSON, into a pipe.
struct WatchView {
    static let all = [
        Command(
            "watch", operands: "[SLOT…]", count: 0...1000, summary: "Follows slots live: progress, rate, verdict",
            details: """
                On a terminal the whole screen shows all slots; q or Ctrl-C ends it, the arrow
                keys scroll where there are more slots than fit, and a station that restarts is
                waited for. Into a pipe goes one line for each change, with --json one status
                for each; there it ends when the station does.
                """,
            options: [.init("--bell", "sound what becomes of cards; see display --help")],
            examples: ["stationctl watch", "stationctl watch slot1 --json | jq -r .slots[0].state"],
            exits: [
                "0 ended by q or Ctrl-C", "2 usage", "3 no station answers; into a pipe: the station went away",
                "4 not permitted", "5 no such slot",
            ],
            run: { try WatchView(context: $0).run() })
    ]

    let context: Context

    func run() throws -> ExitCode {
        let hasBell = context.arguments.has("--bell")
        guard context.isJSON || !context.console.isScreen else { return try LiveView(context, hasBell: hasBell).run() }
        if hasBell {
            throw context.syntax.usage(
                "--bell needs a terminal", remedy: "leave it out where the output goes elsewhere")
        }
        var before: [SlotName: String] = [:]
        let client = try context.connect()
        try client.begin(.watch)
        while true {
            // Who reads the lines may go while there is nothing to write.
            if Descriptor.waitForInput(of: client.descriptor.number, orHangUpOf: 1) == 1 { Console.endUnread() }
            guard let reply = try client.newestReply(to: .watch, as: Control.Status.self) else { continue }
            var status = reply
            status.slots = try context.select(reply.slots, by: context.operands)
            if context.isJSON {
                context.console.json(status, inOneLine: true)
                continue
            }
            for slot in status.slots {
                let text = change(slot)
                guard before[slot.name] != text else { continue }
                before[slot.name] = text
                context.console.line("\(LocalTime.text(SystemClock.wallSeconds())) \(slot.name) \(text)")
            }
        }
    }

    /// What a line says of a slot; another text is a change. Progress counts in tenths.
    private func change(_ slot: SlotStatus) -> String {
        guard slot.state == "running", let job = slot.job, let progress = job.progress else {
            return ([SlotText.state(slot).line] + [SlotText.image(slot)] + SlotText.notes(slot)).joined(separator: "; ")
        }
        let tenths = SlotText.percent(progress).map { " \($0 / 10 * 10) %" } ?? ""
        return "\(progress.phase.title)\(tenths); \(job.image); job \(job.id.short)"
    }

    /// `[######··········]`, of so many columns inside the brackets.
    static func bar(_ share: Double, width: Int) -> String {
        let done = Int(min(1, max(0, share)) * Double(width))
        return "[" + String(repeating: "#", count: done) + String(repeating: "·", count: width - done) + "]"
    }
}
