import StationCore
import StationLinux

/// `slot match`: udev's helper. Says which slot a disk is in, to the rules that keep everybody else off it.
enum SlotMatchCommand {
    static let all = [
        Command(
            "slot match", summary: "Prints STATION_SLOT=NAME for a disk in a declared slot",
            details: "For udev rules (IMPORT{program}). Never fails: what is in no slot prints nothing.",
            options: [
                .init("--udev", value: "DEVPATH", "the disk's or partition's path below /sys"), Command.slotsOption,
            ],
            examples: ["stationctl slot match --udev /devices/…/block/sdb"], isHidden: true, run: run)
    ]

    private static func run(_ context: Context) throws -> ExitCode {
        guard let path = context.arguments.value("--udev"), let disk = wholeDisk(path),
            let record = Sysfs.record(devicePath: disk), record.isWholeDisk, let place = record.place,
            !Eligibility.isMMCHardwarePartition(record.name)
        else { return .success }
        // Logical units may still be appearing one after the other, so their number is left to the station and the writer.
        let claims = SlotFiles(context).load().declarations.filter { $0.place == place }
        if claims.count == 1, let slot = claims.first, let reader = record.reader, slot.reader.isOfMake(reader) {
            context.console.line("STATION_SLOT=\(slot.name)")
        }
        return .success
    }

    /// The disk of a partition's path, or the path itself. Nil for what is neither, such as an MMC host's boot partitions.
    private static func wholeDisk(_ path: String) -> String? {
        let parts = path.split(separator: "/").map(String.init)
        guard path.hasPrefix("/devices/"), !parts.contains(".."), parts.count > 3 else { return nil }
        if parts[parts.count - 2] == "block" { return path }
        guard parts[parts.count - 3] == "block", SmallFile.attribute("/sys\(path)/partition") != nil else { return nil }
        return "/" + parts.dropLast().joined(separator: "/")
    }
}
