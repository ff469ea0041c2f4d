import Glibc
import StationCore
package import StationLinux

/// What the installed writer and the one of the tests have in common: arguments, configuration, one connection, the end.
package enum WriterProgram {
    package static let syntax = CommandSyntax(
        "station-writer", summary: "Writes one card in one slot and reads it back",
        details: """
            Started by systemd for a slot (station-writer@SLOT.service), or by stationd. It serves one
            connection, opens that slot's disk and no other, and ends with the verdict.
            """,
        options: [
            .init("--slot", value: "NAME", "the slot whose card is written"),
            .init("--config", value: "DIR", "where station.conf and slots.d are (/etc/flashing-station)"),
            .init("--connected", value: "N", "serve this connected descriptor instead of systemd's socket"),
        ],
        examples: ["station-writer --slot slot1 --connected 3"])

    /// Serves one connection. Blocks.
    /// - Parameter checks: what is enforced.
    /// - Returns: the exit code: 0 when a verdict was delivered.
    package static func run(_ words: [String], checks: Set<Check> = .all) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        do throws(StationError) {
            let arguments = try syntax.parse(words)
            if arguments.has("--help") { return say(syntax.help, 1, 0) }
            if arguments.has("--version") { return say("station-writer \(StationVersion.text)\n", 1, 0) }
            guard let slotText = arguments.value("--slot") else { throw syntax.usage("--slot is missing") }
            let slot = try SlotName(slotText)
            let directory = arguments.value("--config") ?? ConfigurationFiles.directory
            var connected: Int32?
            if let text = arguments.value("--connected") {
                guard let number = Int32(text), number > 2 else { throw syntax.usage("--connected needs a descriptor") }
                connected = number
            }
            guard let socket = try ServiceSocket.connection(connected: connected) else { return 0 }
            let ownerID: UInt32? = checks.contains(.trust) ? 0 : nil
            // A file that was broken since the station read it refuses the card; it does not end the writer without a word.
            var configuration = StationConfiguration()
            var problem: StationError?
            do { configuration = try ConfigurationFiles.load(directory, ownerID: ownerID) } catch { problem = error }
            var sources = GuardSources.host { [problem] () throws(StationError) in
                if let problem {
                    throw StationError(Reason.configurationInvalid.rawValue, problem.message, remedy: problem.remedy)
                }
                let (slots, problems) = SlotDirectory.load("\(directory)/slots.d", ownerID: ownerID)
                if !slots.contains(where: { $0.name == slot }), let problem = problems.first { throw problem }
                return slots
            }
            if !checks.contains(.pageCache) {
                sources.openForWriting = { (path: String) throws(SystemError) in
                    BlockDevice(path: path, descriptor: try Descriptor(opening: path, O_RDWR))
                }
            }
            let cardGuard = Guard(
                slot: slot, protectedLabels: configuration.protectedLabels, sources: sources, checks: checks)
            return WriterSession(socket: socket, cardGuard: cardGuard, checks: checks).run() ? 0 : 1
        } catch {
            return say("station-writer: \(error)\n", 2, error.code == "usage" ? 2 : 1)
        }
    }

    private static func say(_ text: String, _ number: Int32, _ code: Int32) -> Int32 {
        var bytes = Array(text.utf8)
        _ = bytes.withUnsafeMutableBytes { write(number, $0.baseAddress, $0.count) }
        return code
    }
}
