import StationCore
import StationLinux

/// `assign`, `unassign`, `arm`, `disarm`, `cancel`, `reload`: the commands that change what slots do.
enum ChangeCommands {
    static let all = [
        Command(
            "assign", operands: "SLOT… [PROFILE]", count: 1...1000, summary: "Assigns an image to slots and arms them",
            details: """
                From then on each card that is put into the slot is wiped, written with this image and
                read back. The image stays the same until somebody assigns another. Of a profile, which
                stands last, the image is built now, or taken from a build that is there; cards that are
                inserted meanwhile wait for it, and it goes on when this command is interrupted.
                """,
            options: [.init("--image", value: "NAME", "an image instead; see stationctl image list")],
            examples: [
                "stationctl assign slot1 slot2 --image openwrt", "stationctl assign 'left-*' home.ap.24.10",
            ],
            run: assign),
        Command(
            "unassign", operands: "SLOT…", count: 1...1000, summary: "Takes the assignment away and disarms",
            examples: ["stationctl unassign slot1"]
        ) { try change($0, .unassign, done: "nothing is assigned any more, and it is disarmed") },
        Command(
            "arm", operands: "SLOT…", count: 1...1000, summary: "Lets the next cards be written again",
            examples: ["stationctl arm slot1"]
        ) { try change($0, .arm, done: "armed") },
        Command(
            "disarm", operands: "SLOT…|--all", count: 0...1000, summary: "Lets no card be written until armed again",
            details: "The lasting stop, kept over restarts. A job that runs goes on: see stationctl cancel.",
            options: [.init("--all", "all slots")], examples: ["stationctl disarm slot1", "stationctl disarm --all"],
            run: disarm),
        Command(
            "cancel", operands: "SLOT…", count: 1...1000, summary: "Ends running jobs; their cards are then unfinished",
            examples: ["stationctl cancel slot1"]
        ) { try change($0, .cancel, done: "the job is being cancelled") },
        Command(
            "reload", summary: "Reads slot files and configuration anew", details: "Root's.",
            examples: ["sudo stationctl reload"], run: reload),
    ]

    private static func assign(_ context: Context) throws -> ExitCode {
        let parameters: Control.Assign
        let what: String
        if let image = context.arguments.value("--image") {
            parameters = Control.Assign(slots: context.operands, image: image)
            what = image
        } else {
            guard context.operands.count > 1, let profile = context.operands.last else {
                throw context.syntax.usage(
                    "name a profile behind the slots, or an image with --image NAME",
                    remedy: "stationctl profile list, stationctl image list")
            }
            parameters = Control.Assign(slots: Array(context.operands.dropLast()), profile: profile)
            what = profile
        }
        let line = BuildProgressLine(context)
        var changed = Control.Changed(slots: [])
        var isTold = false
        do {
            try context.connect().callMore(.assign, parameters, as: Control.Changed.self) { step in
                if let progress = step.progress {
                    line.show(progress)
                } else if step.isPreparing == true, !isTold, !context.isJSON {
                    isTold = true
                    context.console.line("its image is made ready; cards that are inserted wait for it")
                }
                changed = step
                return true
            }
        } catch {
            line.clear()
            throw error
        }
        line.clear()
        changed.progress = nil
        report(changed, context, done: "\(what.printable()) is assigned, and the slot is armed")
        if !context.isJSON, changed.withCardIn.isEmpty {
            context.console.line("now insert a card; follow it: stationctl watch")
        }
        return .success
    }

    private static func disarm(_ context: Context) throws -> ExitCode {
        guard context.operands.isEmpty == context.arguments.has("--all") else {
            throw context.syntax.usage("name slots, or say --all")
        }
        return try change(context, .disarm, done: "disarmed")
    }

    private static func change(_ context: Context, _ method: Control.Method, done: String) throws -> ExitCode {
        let slots = Control.Slots(slots: context.operands)
        // Only where a card may be written now is there something to be said of the one that is in.
        let changed = try context.connect().call(method, slots, as: Control.Changed.self)
        report(changed, context, done: done, mayBeWritten: method == .arm)
        return .success
    }

    private static func report(
        _ changed: Control.Changed, _ context: Context, done: String, mayBeWritten: Bool = true
    ) {
        guard !context.isJSON else { return context.console.json(changed) }
        if changed.slots.isEmpty { context.console.line("no slot is declared") }
        for slot in changed.slots { context.console.line("\(slot): \(done)") }
        for slot in changed.withCardIn where mayBeWritten {
            context.console.line(
                "\(slot): the card that is in stays as it is: pull it and insert it again, or: stationctl flash \(slot)"
            )
        }
    }

    private static func reload(_ context: Context) throws -> ExitCode {
        let client = try context.connect()
        // Before the daemon reads them: it drives only what belongs to it.
        for problem in SlotLightsCommand.prepare(SlotFiles(context)) {
            context.console.note("stationctl: \(problem)")
        }
        _ = try client.call(.reload, as: Control.Empty.self)
        let status = try client.call(.getStatus, as: Control.Status.self)
        guard !context.isJSON else {
            context.console.json(status)
            return .success
        }
        context.console.line("read anew: \(status.slots.count) \(status.slots.count == 1 ? "slot" : "slots")")
        for problem in status.problems { context.console.problem("! " + problem.message, remedy: problem.remedy) }
        return .success
    }
}
