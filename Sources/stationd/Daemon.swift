import Dispatch
import FoundationEssentials
import Glibc
import StationCore
import StationLinux
import StationService

/// The composition root of the daemon: everything that is chosen is chosen here.
enum Daemon {
    static let syntax = CommandSyntax(
        "stationd", summary: "The flashing station's daemon: watches slots, asks writers, remembers verdicts",
        details: """
            Started by systemd as stationd.service. Without systemd it starts station-writer and
            station-library itself, from the directory of its own program.
            """,
        options: [
            .init("--check-config", "check configuration and slot files, and end"),
            .init("--config", value: "DIR", "where station.conf and slots.d are (/etc/flashing-station)"),
            .init("--state", value: "DIR", "where records, images and builds are (/var/lib/flashing-station)"),
            .init("--socket", value: "PATH", "the control socket (/run/flashing-station/control)"),
            .init("--programs", value: "DIR", "start station-writer and station-library from here, not by systemd"),
            .init(
                "--snapshot-store",
                "write the records of a station that is down to descriptor 3, and end; for stationctl"),
            .init(
                "--adopt-store", value: "FILE",
                "make records out of a backup fit for a station, and end; for stationctl"),
            .init("--without-builders", "with --adopt-store: the Image Builders are not there"),
            .init("--adopted-from", value: "TEXT", "with --adopt-store: what the records say of it"),
            .init("--caller", value: "UID", "with --adopt-store: who wants it"),
        ],
        examples: ["stationd --check-config"])

    /// Kept here because nothing that a function holds outlives its last use, and `dispatchMain` never returns: an optimised
    /// build would hear no signal. `nonisolated(unsafe)`: written once, before there is a second thread, and never read.
    nonisolated(unsafe) private static var signalSources: [any DispatchSourceSignal] = []

    /// Does what the arguments say. Returns the exit code, or never.
    static func run(_ words: [String]) -> Int32 {
        do throws(StationError) {
            let arguments = try syntax.parse(words)
            if arguments.has("--help") { return say(syntax.help) }
            if arguments.has("--version") { return say("stationd \(StationVersion.text)\n") }
            let setup = setup(arguments)
            if arguments.has("--check-config") { return checkConfiguration(setup) }
            if arguments.has("--snapshot-store") || arguments.has("--adopt-store") {
                return handleStore(arguments, setup)
            }
            let marker = (arguments.value("--state") ?? stateDirectory) + RestoreCommit.markerSuffix
            guard (try? FileStatus(of: marker)) == nil else { throw RestoreCommit.unfinished(marker) }
            return try serve(setup, socketPath: arguments.value("--socket") ?? Control.socketPath)
        } catch {
            complain(error)
            if error.code == "usage" { return 2 }
            ServiceManager().didNotStart(error)
            return 1
        }
    }

    /// A timer that never comes. The first one that is armed makes the descriptor that all others share: where there was none
    /// left at that moment, no timer of this process would ever come. `nonisolated(unsafe)` for the reason above.
    nonisolated(unsafe) private static var firstTimer: (any DispatchSourceTimer)?

    private static func setup(_ arguments: Arguments) -> StationSetup {
        let configuration = arguments.value("--config") ?? ConfigurationFiles.directory
        let state = arguments.value("--state") ?? stateDirectory
        let slots = "\(configuration)/slots.d"
        let isSystemd = (try? FileStatus(of: "/run/systemd/system")) != nil
        var writers = WriterLaunch.sockets(directory: "/run/flashing-station/writer")
        var library = LibraryLaunch.socket(path: "/run/flashing-station/library")
        if arguments.has("--programs") || !isSystemd {
            let programs = arguments.value("--programs") ?? ownDirectory
            writers = .program(path: "\(programs)/station-writer", arguments: ["--config", configuration])
            library = .program(
                path: "\(programs)/station-library",
                arguments: [
                    "--vault", "\(state)/images", "--builders", "\(state)/builders", "--builds", "\(state)/builds",
                    "--keys", "/usr/share/flashing-station/keys", "--keys", "\(configuration)/keys",
                ])
        }
        return StationSetup(
            version: StationVersion.text, configurationDirectory: configuration, slotsDirectory: slots,
            databasePath: "\(state)/store/station.db", imagesDirectory: "\(state)/images",
            buildsDirectory: "\(state)/builds", writers: writers,
            library: library)
    }

    private static let stateDirectory = "/var/lib/flashing-station"

    /// What `stationctl backup` and `restore` have done with the store, which nobody else opens. One line of JSON says what came
    /// of it, good or bad.
    private static func handleStore(_ arguments: Arguments, _ setup: StationSetup) -> Int32 {
        do {
            if let path = arguments.value("--adopt-store") {
                try StoreSnapshot.adopt(
                    path, detail: arguments.value("--adopted-from") ?? "",
                    callerUserID: arguments.value("--caller").flatMap { UInt32($0) } ?? getuid(),
                    hasBuilders: !arguments.has("--without-builders"))
                return 0
            }
            let file = Descriptor(owning: 3)
            return say(json(try StoreSnapshot.write(ofClosed: setup.databasePath, into: file)))
        } catch {
            _ = say(json(error as? StationError ?? StationError("internal_error", "\(error)")))
            return 1
        }
    }

    private static func json(_ value: some Encodable) -> String {
        (try? JSONEncoder().encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    private static var ownDirectory: String {
        let path = SmallFile.link("/proc/self/exe") ?? "/usr/lib/flashing-station/stationd"
        return path.split(separator: "/").dropLast().map { "/\($0)" }.joined()
    }

    private static func checkConfiguration(_ setup: StationSetup) -> Int32 {
        var problems: [StationError] = []
        do {
            _ = try ConfigurationFiles.load(setup.configurationDirectory)
        } catch {
            problems.append(error)
        }
        let (slots, found) = SlotDirectory.load(setup.slotsDirectory)
        problems += found
        problems.forEach(complain)
        guard problems.isEmpty else { return 1 }
        return say("The configuration in \(setup.configurationDirectory) is good; \(slots.count) slots are declared.\n")
    }

    private static func serve(_ setup: StationSetup, socketPath: String) throws(StationError) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        try TaskThreads.takeOver()
        do { try DescriptorWatch.prepare() } catch {
            throw error.asStationError(
                "threads_unavailable", remedy: "see TasksMax= and LimitNOFILE= of stationd.service")
        }
        let station = try Station(setup: setup, journal: Journal(), manager: ServiceManager())
        let access = ControlAccess(
            readerGroupID: UserDatabase.groupID(named: "station"),
            operatorGroupID: UserDatabase.groupID(named: "station-operator"))
        let server = try ControlServer(
            socketPath: socketPath, control: station, access: access,
            information: ServiceInformation(version: setup.version))
        let queue = DispatchQueue(label: "signals")
        firstTimer = DispatchSource.makeTimerSource(queue: queue)
        firstTimer?.schedule(deadline: .now() + .seconds(10 * 365 * 86_400))
        firstTimer?.resume()
        signalSources = [SIGTERM, SIGINT, SIGUSR1, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { @Sendable in
                Task { await hear(number, station, server) }
            }
            source.resume()
            return source
        }
        Task {
            do {
                // Who connects meanwhile waits: half a station would show no slots.
                try await station.start()
                try await server.start()
            } catch {
                let error = error as? StationError ?? StationError("internal_error", "\(error)")
                complain(error)
                ServiceManager().didNotStart(error)
                exit(1)
            }
        }
        dispatchMain()
    }

    private static func hear(_ number: Int32, _ station: Station, _ server: ControlServer) async {
        if number == SIGHUP {
            do {
                try await station.reload(caller: 0)
            } catch {
                complain(error as? StationError ?? StationError("internal_error", "\(error)"))
            }
            return
        }
        guard await station.stop(isPatient: number == SIGUSR1) else { return }
        await server.stop()
        exit(0)
    }

    private static func say(_ text: String) -> Int32 {
        write(text, to: 1)
        return 0
    }

    private static func complain(_ error: StationError) { write("stationd: \(error)\n", to: 2) }

    private static func write(_ text: String, to number: Int32) {
        var bytes = Array(text.utf8)
        _ = bytes.withUnsafeMutableBytes { Glibc.write(number, $0.baseAddress, $0.count) }
    }
}
