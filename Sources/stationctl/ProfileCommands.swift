import Glibc
import ProfileDocuments
import StationCore
import StationLinux

/// `profile import|list|show|export|history|delete`: the profiles that the station has.
enum ProfileCommands {
    static let all = [
        Command(
            "profile import", operands: "FILE|DIR…", count: 1...10_000, summary: "Takes profiles in from files",
            details: """
                All files are checked first; where one is not valid, none is taken in. Files and overlays that
                profiles name are opened by you and sent. A changed profile becomes a new version; the old ones
                stay.
                """,
            examples: ["stationctl profile import profiles", "stationctl profile import ap.yaml"], run: add),
        Command(
            "profile list", summary: "Lists the station's profiles",
            options: [
                .init("--tag", value: "TAG", "only those with this tag"),
                .init("--device", value: "DEVICE", "only those of this device_id"),
                .init("--release", value: "RELEASE", "only those of this openwrt_release"),
                .init("--target", value: "TARGET", "only those of this target, or target/subtarget"),
            ],
            examples: [
                "stationctl profile list --tag home", "stationctl profile list --target bcm27xx/bcm2711 --json",
            ],
            exits: Command.readingExits, run: list),
        Command(
            "profile show", operands: "PROFILE", count: 1...1, summary: "Shows one profile",
            details: "PROFILE@N is its version N.",
            examples: ["stationctl profile show home.ap", "stationctl profile show home.ap@1"], run: show),
        Command(
            "profile export", operands: "PROFILE", count: 1...1, summary: "Writes one profile as a file",
            details: "To standard output; PROFILE@N is its version N. The files it names are not part of it.",
            options: [
                ProfileFileCommands.formatOption,
                .init("--meta", "add when it was made and changed, and by whom"),
            ],
            examples: ["stationctl profile export home.ap --format toml --meta > ap.toml"], run: export),
        Command(
            "profile history", operands: "PROFILE", count: 1...1, summary: "Lists all versions of a profile",
            details: "Those of a deleted one, too.", examples: ["stationctl profile history home.ap"], run: history),
        Command(
            "profile delete", operands: "PROFILE", count: 1...1, summary: "Takes a profile away",
            details: "Its versions stay, for what was built from them.",
            examples: ["stationctl profile delete home.ap"], run: delete),
    ]

    // MARK: Import

    private struct Imported: Encodable { var profiles: [Control.ImportedProfile] }

    private static func add(_ context: Context) throws -> ExitCode {
        let ready = try prepare(context)
        let client = try context.connect()
        var imported: [Control.ImportedProfile] = []
        for (file, profile, overlay) in ready {
            let archive = try overlay.map { overlay in
                try OverlayArchive(packing: overlay, in: ChildProcess.environment["TMPDIR"] ?? "/tmp")
            }
            let parameters = Control.ImportProfile(profile: profile.document().json, overlaySHA256: archive?.sha256)
            try client.callMore(
                .importProfile, parameters, descriptors: archive.map { [$0.file] } ?? [],
                as: Control.ImportedProfile.self
            ) { reply in
                imported.append(reply)
                if !context.isJSON {
                    let what = reply.isNewVersion ? "version \(reply.profile.version)" : "unchanged"
                    context.console.line("\(file.printable(limit: 500)): \(reply.profile.profileID): \(what)")
                }
                return false
            }
        }
        if context.isJSON { context.console.json(Imported(profiles: imported)) }
        return .success
    }

    /// Reads and checks all files, so that an import is whole or does not begin.
    private static func prepare(
        _ context: Context
    ) throws(StationError) -> [(file: String, profile: Profile, overlay: Overlay?)] {
        var ready: [(file: String, profile: Profile, overlay: Overlay?)] = []
        var violations: [ProfileViolation] = []
        for file in try ProfileFileCommands.files(context.operands) {
            let reading = ProfileFile.read(file)
            guard let profile = reading.profile else {
                violations += reading.violations
                continue
            }
            let sources = ProfileSources.gather(profile, file: file, positions: reading.positions)
            violations += sources.violations
            if let other = ready.first(where: { $0.profile.profileID == profile.profileID }), other.profile != profile {
                violations.append(ProfileViolation(profile.profileID, of: file, isAlsoIn: other.file))
            }
            ready.append((file, profile, sources.overlay))
        }
        guard violations.isEmpty else {
            if !context.isJSON { for violation in violations.dropFirst() { context.console.note(violation.text) } }
            throw ProfileReading(violations: violations).error
        }
        return ready
    }

    // MARK: Looking

    private static func list(_ context: Context) throws -> ExitCode {
        let arguments = context.arguments
        let filter = Control.ProfileFilter(
            tag: arguments.value("--tag"), device: arguments.value("--device"), release: arguments.value("--release"),
            target: arguments.value("--target"))
        let reply = try context.connect().call(.listProfiles, filter, as: Control.Profiles.self)
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        guard !reply.profiles.isEmpty else {
            context.console.line(
                filter == .init() ? "there is no profile: stationctl profile import FILE" : "no profile matches")
            return .success
        }
        var table = Table(headings: ["PROFILE", "VERSION", "RELEASE", "TARGET", "DEVICE", "TAGS"])
        for profile in reply.profiles {
            table.rows.append([
                .init(profile.profileID.printable()), .init("\(profile.version)"), .init(profile.release.printable()),
                .init("\(profile.target)/\(profile.subtarget)".printable()), .init(profile.deviceID.printable()),
                .init(profile.tags.joined(separator: " ").printable()),
            ])
        }
        let width = context.console.isTerminal ? context.console.size.columns : nil
        for line in table.lines(on: context.console, width: width) { context.console.line(line) }
        return .success
    }

    /// A profile of the station's: `PROFILE`, the newest version, or `PROFILE@N`.
    static func get(_ operand: String, _ context: Context) throws(StationError) -> Control.ProfileContent {
        let halves = operand.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var query = Control.ProfileVersionQuery(profileID: halves[0], version: nil)
        if halves.count == 2 {
            guard let version = Int(halves[1]), version > 0 else {
                throw context.syntax.usage("“\(halves[1].printable(limit: 20))” is no version")
            }
            query.version = version
        }
        return try context.connect().call(.getProfile, query, as: Control.ProfileContent.self)
    }

    private static func show(_ context: Context) throws -> ExitCode {
        let content = try get(context.operands[0], context)
        guard !context.isJSON else {
            context.console.json(content)
            return .success
        }
        let record = content.record
        let rows = [
            ("version", "\(record.version), \(LocalTime.text(record.importedAt)) by \(user(record.importedByUserID))"),
            ("sha256", record.sha256.hexadecimal), ("files", record.overlaySHA256?.hexadecimal ?? "none"),
        ]
        for (name, value) in rows { context.console.line("# \(name.padded(to: 9))\(value)") }
        for note in content.profile.remarks {
            context.console.line("# note: \(note.field): \(note.message)".printable(limit: 500))
        }
        for line in DocumentFormat.yaml.write(content.profile.document()).split(separator: "\n") {
            context.console.line(String(line).printable(limit: 20_000))
        }
        return .success
    }

    private static func export(_ context: Context) throws -> ExitCode {
        let format = try ProfileFileCommands.format(context)
        let content = try get(context.operands[0], context)
        guard !context.isJSON else {
            context.console.json(content)
            return .success
        }
        var meta: ProfileMeta?
        if context.arguments.has("--meta") {
            meta = ProfileMeta(
                createdAt: LocalTime.universal(content.createdAt),
                updatedAt: LocalTime.universal(content.record.importedAt))
        }
        context.console.text(format.write(content.profile.document(meta: meta)))
        return .success
    }

    private static func history(_ context: Context) throws -> ExitCode {
        let reply = try context.connect().call(
            .listProfileVersions, Control.ProfileQuery(profileID: context.operands[0]), as: Control.Profiles.self)
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        var table = Table(headings: ["VERSION", "IMPORTED", "BY", "SHA256", "FILES"])
        for version in reply.profiles {
            table.rows.append([
                .init("\(version.version)"), .init(LocalTime.text(version.importedAt)),
                .init(user(version.importedByUserID)),
                .init(version.sha256.short), .init(version.overlaySHA256?.short ?? "none"),
            ])
        }
        for line in table.lines(on: context.console, width: nil) { context.console.line(line) }
        return .success
    }

    private static func delete(_ context: Context) throws -> ExitCode {
        let profileID = context.operands[0]
        _ = try context.connect().call(
            .deleteProfile, Control.ProfileQuery(profileID: profileID), as: Control.Empty.self)
        if context.isJSON {
            context.console.json(Control.Empty())
        } else {
            context.console.line(
                "\(profileID.printable(limit: 130)) is deleted; its versions stay: stationctl profile history \(profileID.printable(limit: 130))"
            )
        }
        return .success
    }

    private static func user(_ userID: UInt32) -> String { UserDatabase.userName(userID) ?? "uid \(userID)" }
}
