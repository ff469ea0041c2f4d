import StationCore
import StationLinux

/// `slot list|show|add|remove`: slot files without a card in hand.
enum SlotCommands {
    static let all = [
        Command(
            "slot list", summary: "Lists the declared slots", options: [Command.slotsOption],
            examples: ["stationctl slot list --json"], exits: Command.exits([.success, .failure, .usage]), run: list),
        Command(
            "slot show", operands: "SLOT", count: 1...1, summary: "Shows what a slot's file declares, and how it does",
            details: "How its last jobs went is there when the station runs and may be asked.",
            options: [Command.slotsOption], examples: ["stationctl slot show slot1"],
            exits: Command.exits([.success, .failure, .usage, .notFound]), run: show),
        Command(
            "slot add", operands: "NAME", count: 1...1, summary: "Declares a slot by its place; slot learn is easier",
            details: "Cards in that place WILL BE WIPED when the slot is assigned.",
            options: [
                .init("--place", value: "PLACE", "such as 'usb 480 port 2.3 lun 0 at pci0000:00/0000:00:04.0'"),
                .init("--reader", value: "READER", "such as '0bda:0326 luns 1', or mmc"),
                .init("--wipe", value: "LEVEL", "none, signatures (default), discard or zero"),
                .init("--mode", value: "MODE", "full (default), or update: write only what is not there yet"),
                .init("--at-boot", value: "WHAT", "with a card that is in at start: wait (default) or write"),
                .init("--card-type", value: "TYPE", "of an SD or MMC host: SD (default), MMC or any"),
                .init("--minimum-size", value: "SIZE", "the smallest card, such as 256M"),
                .init("--maximum-size", value: "SIZE", "the largest card, such as 64G"),
                .init("--light", value: "LIGHT", "such as led:green:slot1 or gpio:CHIPLABEL:OFFSET"),
                .init("--failure-light", value: "LIGHT", "the red one of two"),
                Command.slotsOption,
            ],
            examples: [
                "sudo stationctl slot add slot1 --reader '0bda:0326 luns 1' \\\n      --place 'usb 480 port 2.3 lun 0 at pci0000:00/0000:00:04.0'"
            ],
            run: add),
        Command(
            "slot remove", operands: "SLOT", count: 1...1,
            summary: "Takes a declaration away: its place is nobody's again",
            options: [Command.slotsOption], examples: ["sudo stationctl slot remove slot1"], run: remove),
    ]

    private struct Listing: Encodable {
        var slots: [SlotDeclaration]
        var problems: [StationError]
    }

    private static func list(_ context: Context) throws -> ExitCode {
        let files = SlotFiles(context)
        let (slots, problems) = files.load()
        guard !context.isJSON else {
            context.console.json(Listing(slots: slots, problems: problems))
            return .success
        }
        if slots.isEmpty, problems.isEmpty {
            context.console.line(
                "no slot is declared in \(files.directory.printable()): sudo stationctl slot learn slot1")
        } else if !slots.isEmpty {
            var table = Table(headings: ["SLOT", "READER", "PLACE"])
            for slot in slots {
                table.rows.append([.init(slot.name.text), .init("\(slot.reader)"), .init("\(slot.place)")])
            }
            // Places are for copying: they are never cut. Where a line would wrap, they stand below their slot.
            var lines = table.lines(on: context.console, width: nil)
            if let width = context.console.width, slots.contains(where: { lineWidth($0, slots) > width }) {
                lines = slots.flatMap { ["\($0.name)  \($0.reader)", "    \($0.place)"] }
            }
            for line in lines { context.console.line(line) }
        }
        for problem in problems { context.console.problem("! " + problem.message, remedy: problem.remedy) }
        return .success
    }

    private static func lineWidth(_ slot: SlotDeclaration, _ slots: [SlotDeclaration]) -> Int {
        let name = slots.map(\.name.text.count).max() ?? 0
        let reader = slots.map { "\($0.reader)".count }.max() ?? 0
        return name + reader + 4 + "\(slot.place)".count
    }

    private static func show(_ context: Context) throws -> ExitCode {
        let files = SlotFiles(context)
        let slot = try files.load(SlotName(context.operands[0]))
        let statistics = statistics(of: slot.name, context)
        guard !context.isJSON else {
            context.console.json(Shown(slot: slot, statistics: statistics))
            return .success
        }
        let limits = "\(Quantity.bytes(slot.minimumByteCount)) to \(Quantity.bytes(slot.maximumByteCount))"
        for (name, value) in [
            ("slot", slot.name.text), ("file", SlotDirectory.filePath(slot.name, in: files.directory)),
            ("place", "\(slot.place)"), ("reader", "\(slot.reader)"), ("wipe", slot.wipe.rawValue),
            ("mode", slot.mode.rawValue),
            ("at boot", slot.atBoot.rawValue), ("type", slot.cardType.rawValue), ("cards", limits),
            ("light", slot.lights.light?.description ?? "none"),
            ("failure", slot.lights.failureLight?.description ?? "shown by the light"),
        ] where name != "failure" || slot.lights.light != nil {
            context.console.line("\(name.padded(to: 9))\(value)")
        }
        if let statistics, statistics.jobCount > 0 {
            let jobs = "\(statistics.failedCount) of the last \(statistics.jobCount) failed"
            context.console.line("\("jobs".padded(to: 9))\(jobs)")
        }
        if let recent = statistics?.recentBytesPerSecond, let usual = statistics?.usualBytesPerSecond {
            let rates = [recent, usual].map { Quantity.rate(bytesPerSecond: $0) }
            context.console.line("\("speed".padded(to: 9))\(rates[0]) lately, usually \(rates[1])")
        }
        return .success
    }

    /// A slot file, and beside its members how the slot's last jobs went.
    private struct Shown: Encodable {
        private enum Key: String, CodingKey { case statistics }

        var slot: SlotDeclaration
        var statistics: SlotStatistics?

        func encode(to encoder: any Encoder) throws {
            try slot.encode(to: encoder)
            var container = encoder.container(keyedBy: Key.self)
            try container.encodeIfPresent(statistics, forKey: .statistics)
        }
    }

    /// Nil when no station answers: a slot file can be shown without one.
    private static func statistics(of slot: SlotName, _ context: Context) -> SlotStatistics? {
        let reply = try? context.connect().call(.getStatistics, as: Control.Statistics.self)
        return reply?.slots.first { $0.slot == slot }
    }

    private static func add(_ context: Context) throws -> ExitCode {
        let files = SlotFiles(context)
        try files.demandOwner()
        let arguments = context.arguments
        let name = try SlotName(context.operands[0])
        guard let place = arguments.value("--place"), let reader = arguments.value("--reader") else {
            throw context.syntax.usage(
                "--place and --reader are missing", remedy: "or: sudo stationctl slot learn \(name)")
        }
        var slot = SlotDeclaration(name: name, place: try Place(text: place), reader: try Reader(text: reader))
        if let text = arguments.value("--wipe") { slot.wipe = try choice("--wipe", text, context) }
        if let text = arguments.value("--mode") { slot.mode = try choice("--mode", text, context) }
        if let text = arguments.value("--at-boot") { slot.atBoot = try choice("--at-boot", text, context) }
        if let text = arguments.value("--card-type") { slot.cardType = try choice("--card-type", text, context) }
        if let text = arguments.value("--minimum-size") { slot.minimumByteCount = try bytes(text, context) }
        if let text = arguments.value("--maximum-size") { slot.maximumByteCount = try bytes(text, context) }
        if let text = arguments.value("--light") { slot.lights.light = try Light(text: text) }
        if let text = arguments.value("--failure-light") {
            guard slot.lights.light != nil else { throw context.syntax.usage("--failure-light needs --light") }
            slot.lights.failureLight = try Light(text: text)
        }
        guard slot.mode == .full || slot.wipe != .discard else {
            throw context.syntax.usage(
                "--mode update cannot be had with --wipe discard, which forgets what is there")
        }
        guard slot.minimumByteCount <= slot.maximumByteCount else {
            throw context.syntax.usage("--minimum-size is larger than --maximum-size")
        }
        // What nobody could read again is not saved.
        slot = try SlotDeclaration(name: name, fileName: "\(name).slot", text: slot.fileText)
        try demandFree(name, slot.place, files)
        try files.save(slot)
        return finish(slot, files, context, said: "\(name) is declared: \(slot.place)")
    }

    /// - Throws: `slot_exists`, `place_taken`.
    static func demandFree(_ name: SlotName, _ place: Place, _ files: SlotFiles) throws(StationError) {
        guard !files.exists(name) else {
            throw StationError(
                "slot_exists", "there is a slot \(name) already",
                remedy: "move it: sudo stationctl slot relearn \(name), or take another name")
        }
        try demandFree(place, but: name, files)
    }

    /// - Throws: `place_taken` when another slot declares the place.
    static func demandFree(_ place: Place, but name: SlotName, _ files: SlotFiles) throws(StationError) {
        if let other = files.load().declarations.first(where: { $0.place == place && $0.name != name }) {
            throw StationError(
                "place_taken", "this place is the slot \(other.name) already: \(place)",
                remedy: "use it as it is, or: sudo stationctl slot remove \(other.name)")
        }
    }

    /// What follows a new or changed file: the writer's socket, the disk's node, the station.
    /// - Parameter next: what to do then; nil for a new slot.
    static func finish(
        _ slot: SlotDeclaration, _ files: SlotFiles, _ context: Context, said: String, next: String? = nil
    ) -> ExitCode {
        let name = slot.name
        var problems = files.setUnit(name, enabled: true)
        files.retrigger(slot.place, isSlot: true)
        problems += SlotLightsCommand.prepare(files) + reload(context)
        if context.isJSON {
            context.console.json(Listing(slots: [try? files.load(name)].compactMap { $0 }, problems: []))
        } else {
            context.console.line(said)
            context.console.line(
                "next: \(next ?? "stationctl image import FILE, then: stationctl assign \(name) --image NAME")")
        }
        for problem in problems { context.console.note("stationctl: \(problem)") }
        return .success
    }

    private static func reload(_ context: Context) -> [String] {
        do {
            _ = try context.connect().call(.reload, as: Control.Empty.self)
            return []
        } catch {
            if error.code == "station_unreachable" {
                return ["stationd does not run; it will read the file when it starts"]
            }
            return ["stationd has not read the file yet: \(error.message) — sudo stationctl reload"]
        }
    }

    private static func remove(_ context: Context) throws -> ExitCode {
        let files = SlotFiles(context)
        try files.demandOwner()
        let name = try SlotName(context.operands[0])
        let slot = try? files.load(name)
        try files.remove(name)
        var problems = files.setUnit(name, enabled: false)
        if let slot { files.retrigger(slot.place, isSlot: false) }
        problems += SlotLightsCommand.prepare(files) + reload(context)
        if context.isJSON {
            context.console.json(Control.Empty())
        } else {
            context.console.line("\(name) is no slot any more: nothing in its place is written")
        }
        for problem in problems { context.console.note("stationctl: \(problem)") }
        return .success
    }

    private static func choice<Value: RawRepresentable<String> & CaseIterable>(
        _ option: String, _ text: String, _ context: Context
    ) throws(StationError) -> Value {
        if let value = Value(rawValue: text) { return value }
        throw context.syntax.usage(
            "\(option) cannot be “\(text.printable(limit: 40))”",
            remedy: text.nearest(in: Value.allCases.map(\.rawValue)).map { "did you mean \($0)?" }
                ?? "one of: \(Value.allCases.map(\.rawValue).joined(separator: ", "))")
    }

    private static func bytes(_ text: String, _ context: Context) throws(StationError) -> UInt64 {
        if let bytes = Quantity.parseBytes(text), bytes >= SlotDeclaration.leastByteCount { return bytes }
        throw context.syntax.usage(
            "“\(text.printable(limit: 40))” is no byte count of 1M or more", remedy: "write 256M or 64G, for example")
    }
}
