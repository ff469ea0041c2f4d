import Glibc
import StationCore
import StationLinux

/// `slot lights`: what root and systemd do for the lights, so that the daemon needs no privilege and leaves none lit.
enum SlotLightsCommand {
    static let all = [
        Command(
            "slot lights", summary: "Prepares the lights that slot files name, or darkens them",
            details: """
                For stationd.service and udev rules. Lights belong to the user station while a slot file names them; what
                cannot be prepared is said, and the rest is.
                """,
            options: [
                .init("--prepare", "give them to the daemon: triggers, LEDs, GPIO lines; take others back"),
                .init("--udev", value: "DEVPATH", "the same for what came or changed, below /sys"),
                .init("--dark", "turn off those that belong to the daemon"), Command.slotsOption,
            ],
            examples: ["sudo stationctl slot lights --prepare"], isHidden: true, run: run)
    ]

    private static func run(_ context: Context) throws -> ExitCode {
        let tree = LightTree()
        if context.arguments.has("--dark") {
            // As root it is the daemon's lights that are meant, not every light of the host.
            let userID = geteuid() == 0 ? try stationUserID() : geteuid()
            return finish(tree.darken(ownedBy: userID).map { $0.asStationError("light_unusable") }, context)
        }
        let access = LightAccess(tree: tree, userID: try stationUserID())
        let slots = SlotFiles(context).load().declarations
        if let path = context.arguments.value("--udev") {
            let parts = path.split(separator: "/").map(String.init)
            guard let name = parts.last, parts.count > 2, !parts.contains("..") else { return .success }
            let isLED = parts[parts.count - 2] == "leds"
            return finish(isLED ? access.grant(led: name, slots: slots) : access.prepare(slots), context)
        }
        guard context.arguments.has("--prepare") else {
            throw context.syntax.usage("--prepare, --udev or --dark is missing")
        }
        return finish(prepare(slots, access), context)
    }

    /// What follows a changed slot file, as root on the installed station; nothing elsewhere.
    static func prepare(_ files: SlotFiles) -> [String] {
        guard files.isInstalled, geteuid() == 0, let userID = UserDatabase.userID(named: LightAccess.userName) else {
            return []
        }
        return prepare(files.load().declarations, LightAccess(tree: LightTree(), userID: userID)).map(\.description)
    }

    private static func prepare(_ slots: [SlotDeclaration], _ access: LightAccess) -> [StationError] {
        let hasLED = slots.contains { slot in
            slot.lights.all.contains { if case .led = $0 { true } else { false } }
        }
        // No kernel loads a trigger's module when somebody sets the trigger. Without them the daemon blinks by itself.
        if hasLED, let child = try? ChildProcess("/sbin/modprobe", ["-qa", "ledtrig-timer", "ledtrig-pattern"]) {
            _ = child.wait()
        }
        return access.prepare(slots)
    }

    private static func stationUserID() throws(StationError) -> UInt32 {
        if let userID = UserDatabase.userID(named: LightAccess.userName) { return userID }
        throw StationError(
            "user_missing", "there is no user \(LightAccess.userName)",
            remedy: "sudo apt install ./flashing-station_*.deb"
        )
    }

    private static func finish(_ problems: [StationError], _ context: Context) -> ExitCode {
        for problem in problems { context.console.problem("stationctl: \(problem.message)", remedy: problem.remedy) }
        return problems.isEmpty ? .success : .failure
    }
}
