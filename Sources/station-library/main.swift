import Glibc
import ImageLibrary
import StationCore
import StationLinux

/// What the command line says.
struct Arguments {
    static let help = """
        usage: station-library --vault DIR [--builders DIR --builds DIR] [--keys DIR]... [--connected NUMBER]

        Imports an image into the library, verifies or removes one, fetches an Image Builder or runs one, as the station
        asks for over a socket, and ends. Started by systemd (station-library.socket) or by stationd; not for people.

          --vault DIR         the directory of the sealed images
          --builders DIR      that of unpacked Image Builders
          --builds DIR        that of what they built
          --keys DIR          the keys that signatures are verified with; else those in
                              /usr/share/flashing-station/keys and /etc/flashing-station/keys
          --connected NUMBER  the descriptor of the connection, where systemd hands over none
          --help              this text
          --version           the version

        Exit status: 0 when a request was served, 1 when there was none or no library, 2 for a wrong command line.
        """

    var vault = ""
    var builders = ""
    var builds = ""
    var keyDirectories: [String] = []
    var connected: Int32?
    /// What is to be printed instead of serving.
    var text: String?

    /// - Throws: `usage`.
    init(_ arguments: [String]) throws(StationError) {
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            switch argument {
            case "--help": text = Self.help
            case "--version": text = "station-library \(ControlInterface.productVersion)"
            case "--vault": vault = try Self.directory(argument, rest.popFirst())
            case "--builders": builders = try Self.directory(argument, rest.popFirst())
            case "--builds": builds = try Self.directory(argument, rest.popFirst())
            case "--keys": keyDirectories.append(try Self.directory(argument, rest.popFirst()))
            case "--connected":
                guard let value = rest.popFirst().flatMap({ Int32($0) }), value > 2 else {
                    throw Self.usage("--connected needs the number of a descriptor, such as 3")
                }
                connected = value
            default: throw Self.usage("“\(argument.printable(limit: 40))” is no option of station-library")
            }
        }
        if keyDirectories.isEmpty { keyDirectories = TrustedKeys.directories }
        if vault.isEmpty, text == nil { throw Self.usage("--vault DIR is missing") }
        if builders.isEmpty != builds.isEmpty { throw Self.usage("--builders and --builds go together") }
    }

    private static func directory(_ option: String, _ value: String?) throws(StationError) -> String {
        guard let value, !value.isEmpty else { throw usage("\(option) needs a directory") }
        return value
    }

    private static func usage(_ message: String) -> StationError {
        StationError("usage", message, remedy: "see station-library --help")
    }
}

/// Serves the request that this process was started for.
/// - Returns: the exit status.
func serve(_ arguments: Arguments) throws(StationError) -> Int32 {
    guard let connection = try ServiceSocket.connection(connected: arguments.connected) else { return 0 }
    let server: LibraryServer
    do {
        let hasBuilders = !arguments.builders.isEmpty
        server = LibraryServer(
            vault: try ImageVault(directory: arguments.vault),
            builders: hasBuilders ? try BuilderDirectory(arguments.builders) : nil,
            builds: hasBuilders ? try BuildDirectory(arguments.builds) : nil,
            keyDirectories: arguments.keyDirectories, connection: connection,
            // systemd names the unit after the connection; this says what it is for.
            announce: { ServiceStatus.tell($0.title) })
    } catch {
        LibraryServer.refuse(connection, error)
        throw error
    }
    return server.serve() == .abandoned ? 1 : 0
}

do {
    let arguments = try Arguments(Array(CommandLine.arguments.dropFirst()))
    if let text = arguments.text {
        print(text)
        exit(0)
    }
    exit(try serve(arguments))
} catch {
    // An error thrown out of main would be a SIGILL.
    let line = Array("station-library: \(error)\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
    exit(error.code == "usage" ? 2 : 1)
}
