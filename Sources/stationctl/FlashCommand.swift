import StationCore
import StationLinux

/// `flash`: begins a job on the card that is in.
enum FlashCommand {
    static let all = [
        Command(
            "flash", operands: "SLOT", count: 1...1, summary: "Begins a job on the card that is in",
            details: "The only command that writes a card which is in already. WIPES that card.",
            options: [
                .init("--image", value: "NAME", "this image instead of the assigned one, for this card only"),
                .init("--dry-run", "check everything, and never open the card for writing"),
                .init("--follow", "wait for the verdict; exit code 7 if it is not passed"),
            ],
            examples: ["stationctl flash slot1 --dry-run --follow", "stationctl flash slot1 --image rescue --follow"],
            exits: Command.changingExits + ["7 --follow: the job ended with another verdict than passed"],
            run: run)
    ]

    private static func run(_ context: Context) throws -> ExitCode {
        let slot = context.operands[0]
        let parameters = Control.Flash(
            slot: slot, image: context.arguments.value("--image"), isDryRun: context.arguments.has("--dry-run"))
        let client = try context.connect()
        guard context.arguments.has("--follow") else {
            let begun = try client.call(.flash, parameters, as: Control.Begun.self)
            if context.isJSON {
                context.console.json(begun)
            } else {
                context.console.line("\(slot): job \(begun.job.short) has begun; follow it: stationctl watch \(slot)")
            }
            return .success
        }
        // Watching begins before the job does, so that even the shortest one is seen.
        let watcher = try context.connect()
        var begun: JobID?
        var outcome: JobReport?
        try watcher.callMore(.watch, as: Control.Status.self) { status in
            guard let id = begun else {
                begun = try client.call(.flash, parameters, as: Control.Begun.self).job
                return true
            }
            // A status without the job may have been made before it began; the job may also be over already, and its card pulled,
            // before any status told of it. Who asks now hears which.
            guard let seen = try showing(id, status) ?? showing(id, client.call(.getStatus)) else { return false }
            outcome = seen.job?.report
            show(seen, context)
            return outcome == nil
        }
        guard let begun else { throw StationError("station_hung_up", "the station ended before the job began") }
        return try end(begun, outcome, client, context)
    }

    private static func showing(_ job: JobID, _ status: Control.Status) -> SlotStatus? {
        status.slots.first { $0.job?.id == job }
    }

    private static func show(_ slot: SlotStatus, _ context: Context) {
        guard !context.isJSON, context.console.isTerminal else { return }
        context.console.redraw("\(slot.name)  \(SlotText.state(slot).line)".cut(to: context.console.size.columns - 1))
    }

    private static func end(
        _ id: JobID, _ report: JobReport?, _ client: ControlClient, _ context: Context
    ) throws -> ExitCode {
        let console = context.console
        if !context.isJSON, console.isTerminal { console.redraw("") }
        let record = try HistoryCommand.fetch(client, Control.HistoryQuery(job: id.text, limit: 1)).first
        guard let verdict = record?.report?.verdict ?? report?.verdict else {
            throw StationError(
                "job_unknown", "job \(id.short) did not take place: the card is one that was done already",
                remedy: "see stationctl status")
        }
        if context.isJSON {
            console.json(Control.History(jobs: [record].compactMap { $0 }))
        } else if let record {
            HistoryCommand.show(record, console)
        }
        return verdict == .passed || verdict == .refused(.dryRun) ? .success : .notPassed
    }
}
