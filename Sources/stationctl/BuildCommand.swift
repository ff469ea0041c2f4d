import StationCore
import StationLinux
import Synchronization

/// `build PROFILE` and `build --tag TAG`: has images built, or finds builds of the same inputs.
enum BuildCommand {
    static let command = Command(
        "build", operands: "[PROFILE…]", count: 0...1000, summary: "Builds the images of profiles, or finds them",
        details: """
            A build of the same inputs is used again, unless --force or the profile says otherwise. A build
            goes on when this command is interrupted; stationctl builds cancel ends it.
            """,
        options: [
            .init("--force", "build anew in any case"),
            .init("--add-package", value: "NAME", "put in one more package; can be given again", isRepeatable: true),
            .init("--follow", "show what the Image Builder prints"),
            .init("--tag", value: "TAG", "all profiles with that tag"),
            .init(
                "--mode", value: "MODE", "of several: best-effort (default), or fail-fast: in order, until one fails"),
        ],
        examples: [
            "stationctl build home.ap.24.10 --follow", "stationctl build --tag home --mode fail-fast",
            "stationctl build home.ap.24.10 --add-package tcpdump --force",
        ], run: run)

    /// What came of one profile.
    private struct Outcome: Encodable, Sendable {
        var profileID: String
        var build: BuildRecord?
        var isReused: Bool?
        var error: StationError?
    }

    private struct Outcomes: Encodable { var builds: [Outcome] }

    private static func run(_ context: Context) throws -> ExitCode {
        let client = try context.connect()
        var profiles = context.operands
        if let tag = context.arguments.value("--tag") {
            profiles += try client.call(
                .listProfiles, Control.ProfileFilter(tag: tag), as: Control.Profiles.self
            ).profiles.map(\.profileID).filter { !profiles.contains($0) }
            guard !profiles.isEmpty else {
                throw StationError(
                    "profile_unknown", "no profile has the tag “\(tag.printable(limit: 64))”",
                    remedy: "stationctl profile list")
            }
        }
        guard !profiles.isEmpty else { throw context.syntax.usage("name a profile, or say --tag TAG") }
        let mode = context.arguments.value("--mode") ?? "best-effort"
        guard ["best-effort", "fail-fast"].contains(mode) else {
            throw context.syntax.usage(
                "--mode cannot be “\(mode.printable(limit: 40))”", remedy: "best-effort or fail-fast")
        }
        let outcomes = try build(profiles, context, isFailFast: mode == "fail-fast")
        if context.isJSON { context.console.json(Outcomes(builds: outcomes)) }
        let failed = outcomes.compactMap(\.error)
        if profiles.count > 1, !context.isJSON {
            let left = profiles.count - outcomes.count
            context.console.line(
                "\(outcomes.count - failed.count) built, \(failed.count) failed"
                    + (left > 0 ? ", \(left) not tried" : ""))
        }
        guard let first = failed.first else { return .success }
        return profiles.count == 1 ? ExitCode(first) : .failure
    }

    /// How many builds are asked for at one time; how many of them run is the station's to say (`Parallel=`).
    private static let requestsAtOnce = 4

    /// Asks for all of them, in their order: some at one time, or, where one failure ends it, one after the other. Which of several
    /// requests the station takes up first is nobody's to say.
    /// - Returns: what came of those that were tried, in the order of the profiles.
    private static func build(
        _ profiles: [String], _ context: Context, isFailFast: Bool
    ) throws -> [Outcome] {
        struct State {
            var next = 0
            var outcomes: [Int: Outcome] = [:]
            var fault: (any Error)?
            var hasFailed = false
        }
        let state = Mutex(State())
        WorkerThreads.run(isFailFast ? 1 : min(requestsAtOnce, profiles.count)) { _ in
            while let index = state.withLock({ state -> Int? in
                guard state.next < profiles.count, state.fault == nil, !(isFailFast && state.hasFailed) else {
                    return nil
                }
                defer { state.next += 1 }
                return state.next
            }) {
                do {
                    let outcome = try build(profiles[index], context, isOnly: profiles.count == 1)
                    state.withLock {
                        $0.outcomes[index] = outcome
                        if outcome.error != nil { $0.hasFailed = true }
                        if !context.isJSON { say(outcome, context.console, isOnly: profiles.count == 1) }
                    }
                } catch {
                    state.withLock { $0.fault = error }
                }
            }
        }
        return try state.withLock { state in
            if let fault = state.fault { throw fault }
            return state.outcomes.sorted { $0.key < $1.key }.map(\.value)
        }
    }

    private static func build(_ profile: String, _ context: Context, isOnly: Bool) throws -> Outcome {
        let packages = context.arguments.all("--add-package")
        let parameters = Control.Build(
            profileID: profile, isForced: context.arguments.has("--force") ? true : nil,
            packages: packages.isEmpty ? nil : packages)
        let line = isOnly ? BuildProgressLine(context, showsLog: context.arguments.has("--follow")) : nil
        var last: Control.BuildProgress?
        do throws(StationError) {
            // A connection each: one that a build was followed on has said its last word.
            try context.connect().callMore(.build, parameters, as: Control.BuildProgress.self) { progress in
                line?.show(progress)
                last = progress
                return progress.build == nil
            }
        } catch {
            line?.clear()
            if ["station_unreachable", "station_hung_up", "permission_denied"].contains(error.code) { throw error }
            return Outcome(profileID: profile, error: error)
        }
        line?.clear()
        return Outcome(profileID: profile, build: last?.build, isReused: last?.isReused)
    }

    private static func say(_ outcome: Outcome, _ console: Console, isOnly: Bool) {
        if let error = outcome.error {
            return console.problem(
                "\(outcome.profileID.printable(limit: 128)): \(error.message)", remedy: error.remedy)
        }
        guard let build = outcome.build else { return }
        let how = outcome.isReused == true ? "there already" : "built"
        console.line("\(build.profileID.printable(limit: 128)): \(how), build \(build.id.short)")
        if isOnly { for line in BuildText.lines(build).dropFirst(2) { console.line("  \(line)") } }
    }
}
