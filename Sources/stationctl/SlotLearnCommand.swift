import Glibc
import StationCore
import StationLinux

/// `slot learn`, `slot relearn`: declares the place into which somebody puts a card.
enum SlotLearnCommand {
    private static let options: [CommandSyntax.Option] = [
        .init("--device", value: "DISK", "take this disk, which is in already, such as sdb"),
        .init("--yes", "do not ask"), Command.slotsOption,
    ]

    static let all = [
        Command(
            "slot learn", operands: "NAME", count: 1...1, summary: "Declares the place into which you put a card now",
            details:
                "Waits for a card, shows it, asks, and declares its place. That card is left alone; later\nones in the same place WILL BE WIPED as soon as the slot is assigned.",
            options: options,
            examples: ["sudo stationctl slot learn slot1", "sudo stationctl slot learn slot1 --device sdb --yes"]
        ) { try run($0, moving: false) },
        Command(
            "slot relearn", operands: "SLOT", count: 1...1,
            summary: "Moves a slot to the place into which you put a card now",
            details: "Name, assignment and settings stay; place and reader are learnt anew.", options: options,
            examples: ["sudo stationctl slot relearn slot1"]
        ) { try run($0, moving: true) },
    ]

    private static func run(_ context: Context, moving: Bool) throws -> ExitCode {
        let files = SlotFiles(context)
        try files.demandOwner()
        let name = try SlotName(context.operands[0])
        let existing = moving ? try files.load(name) : nil
        if !moving, files.exists(name) {
            throw StationError(
                "slot_exists", "there is a slot \(name) already",
                remedy: "move it: sudo stationctl slot relearn \(name), or take another name")
        }
        guard context.arguments.has("--yes") || isatty(0) == 1 else {
            throw context.syntax.usage("nobody is there to ask", remedy: "run it in a terminal, or add --yes")
        }
        let disk = try find(name, context)
        guard let place = disk.place, let reader = disk.reader, disk.isWholeDisk,
            !Eligibility.isMMCHardwarePartition(disk.name)
        else {
            throw StationError(
                "not_declarable", "\(disk.name.printable()) is no card in a reader on USB or MMC",
                remedy: "put a card into a USB or SD card reader")
        }
        // Root writes down what root sees: the station's word is only where to look.
        if files.isInstalled {
            let own = Sysfs.record(devicePath: disk.devicePath)
            guard own?.place == place, own?.reader == reader else {
                throw StationError(
                    "device_disagrees", "the station and the kernel do not agree on what \(disk.name.printable()) is",
                    remedy: "pull the card and try again; if it stays so: systemctl status stationd")
            }
        }
        try SlotCommands.demandFree(place, but: name, files)
        var slot = existing ?? SlotDeclaration(name: name, place: place, reader: reader)
        slot.place = place
        slot.reader = reader
        show(disk, slot, context)
        try confirm(name, existing, context)
        try files.save(slot)
        if let left = existing?.place, left != place { files.retrigger(left, isSlot: false) }
        let said = moving ? "\(name) is here now; its assignment stays." : "\(name) is declared."
        return SlotCommands.finish(
            slot, files, context, said: said + " The card that is in now is left alone: take it out.",
            next: moving ? "stationctl explain \(name)" : nil)
    }

    /// The disk that is named, or the next that comes.
    private static func find(_ name: SlotName, _ context: Context) throws(StationError) -> DeviceRecord {
        let named = context.arguments.value("--device").map { $0.hasPrefix("/dev/") ? String($0.dropFirst(5)) : $0 }
        var there: [DeviceRecord] = []
        var isListed = false
        var found: Control.DeviceSeen?
        try context.connect().callMore(.watchDevices, as: Control.DeviceSeen.self) { seen in
            guard let device = seen.device else {
                isListed = true
                if let named {
                    throw StationError(
                        "device_unknown", "there is no disk \(named.printable(limit: 40)) with a medium",
                        remedy: there.isEmpty
                            ? "insert it"
                            : "there are: \(there.map { $0.name.printable(limit: 20) }.joined(separator: ", "))")
                }
                context.console.note("Insert a card into the slot that is to be called \(name). (Ctrl-C ends this.)")
                return true
            }
            there.append(device)
            guard named.map({ $0 == device.name }) ?? isListed else { return true }
            found = seen
            return false
        }
        guard let found, let device = found.device else {
            throw StationError("station_hung_up", "the station ended before a card came")
        }
        if let slot = found.slot, slot != name {
            throw StationError(
                "place_taken", "\(device.name.printable()) is in the slot \(slot) already",
                remedy: "use it as it is, or: sudo stationctl slot remove \(slot)")
        }
        return device
    }

    private static func show(_ disk: DeviceRecord, _ slot: SlotDeclaration, _ context: Context) {
        let console = context.console
        console.note("")
        console.note(
            "  card    \(disk.model.printable(limit: 60)), \(Quantity.bytes(disk.byteCount)), now \(disk.name.printable())"
        )
        console.note("  place   \(slot.place)")
        console.note("  reader  \(slot.reader)")
        if disk.byteCount > slot.maximumByteCount {
            console.note(
                "  NOTE    larger than any card this slot takes (\(Quantity.bytes(slot.maximumByteCount))): is it a card?"
            )
        }
        console.note("")
        console.note("Cards that are put into this place WILL BE WIPED once the slot is assigned.")
        console.note("The card that is in now is left alone.")
    }

    private static func confirm(_ name: SlotName, _ existing: SlotDeclaration?, _ context: Context) throws(StationError)
    {
        guard !context.arguments.has("--yes") else { return }
        context.console.text(
            existing == nil ? "Declare this place as \(name)? [y/N] " : "Move \(name) to this place? [y/N] ")
        let answer = (readLine() ?? "").trimmed.lowercased()
        guard answer == "y" || answer == "yes" else {
            throw StationError("not_confirmed", "nothing was declared")
        }
    }
}
