/// What goes over the control socket about Image Builders and builds.
extension Control {
    /// Reply of `ListBuilders`.
    package struct Builders: Codable, Equatable, Sendable {
        package var builders: [BuilderRecord]
        package init(builders: [BuilderRecord]) { self.builders = builders }
    }

    /// Parameters of what is about one Image Builder.
    package struct BuilderQuery: Codable, Equatable, Sendable {
        package var release: String
        package var target: String
        package var subtarget: String
        /// `EnsureBuilder`: ask the server whether its archive is another one by now.
        package var isRefresh: Bool?

        package init(_ triple: BuilderTriple, isRefresh: Bool? = nil) {
            (release, target, subtarget) = (triple.release, triple.target, triple.subtarget)
            self.isRefresh = isRefresh
        }

        package func triple() throws(StationError) -> BuilderTriple {
            try BuilderTriple(release: release, target: target, subtarget: subtarget)
        }
    }

    /// Reply of `GetBuilder`.
    package struct BuilderDetails: Codable, Equatable, Sendable {
        package var builder: BuilderRecord
        package var profiles: [BuilderProfile]

        package init(builder: BuilderRecord, profiles: [BuilderProfile]) {
            self.builder = builder
            self.profiles = profiles
        }
    }

    /// Parameters of `PruneBuilders`.
    package struct Prune: Codable, Equatable, Sendable {
        package var isDryRun: Bool?
        /// Also those that no build worked with for so many days.
        package var olderThanDays: Int?

        package init(isDryRun: Bool? = nil, olderThanDays: Int? = nil) {
            self.isDryRun = isDryRun
            self.olderThanDays = olderThanDays
        }
    }

    /// Reply of `PruneBuilders`: those that went, or would go.
    package struct Pruned: Codable, Equatable, Sendable {
        package var builders: [BuilderRecord]
        package var byteCount: UInt64

        package init(builders: [BuilderRecord], byteCount: UInt64) {
            self.builders = builders
            self.byteCount = byteCount
        }
    }

    /// Each reply of `EnsureBuilder` and `Build`; the last one has `builder` or `build`.
    package struct BuildProgress: Codable, Equatable, Sendable {
        package var step: BuildStep
        package var bytesDone: UInt64
        package var bytesTotal: UInt64?
        /// Since the step began; nil in its beginning, and for steps that are not counted in bytes.
        package var bytesPerSecond: Double?
        package var secondsLeft: Double?
        /// Of a build: the next lines of its log.
        package var log: String?
        package var builder: BuilderRecord?
        package var build: BuildRecord?
        /// Whether a build was there already, and nothing was built.
        package var isReused: Bool?

        package init(step: BuildStep, bytesDone: UInt64 = 0, bytesTotal: UInt64? = nil) {
            self.step = step
            self.bytesDone = bytesDone
            self.bytesTotal = bytesTotal
        }
    }

    /// Parameters of `Build`.
    package struct Build: Codable, Equatable, Sendable {
        package var profileID: String
        /// Build anew though there is a build of the same inputs.
        package var isForced: Bool?
        /// Besides the profile's.
        package var packages: [String]?

        package init(profileID: String, isForced: Bool? = nil, packages: [String]? = nil) {
            self.profileID = profileID
            self.isForced = isForced
            self.packages = packages
        }
    }

    /// Parameters of `ListBuilds`: what is nil does not filter.
    package struct BuildFilter: Codable, Equatable, Sendable {
        package var profile: String?
        package var state: BuildRecord.State?
        package var limit: Int?

        package init(profile: String? = nil, state: BuildRecord.State? = nil, limit: Int? = nil) {
            self.profile = profile
            self.state = state
            self.limit = limit
        }
    }

    /// Reply of `ListBuilds`.
    package struct Builds: Codable, Equatable, Sendable {
        package var builds: [BuildRecord]
        package init(builds: [BuildRecord]) { self.builds = builds }
    }

    /// Parameters of what is about one build: its id or the beginning of it.
    package struct BuildQuery: Codable, Equatable, Sendable {
        package var build: String
        package init(build: String) { self.build = build }
    }

    /// Reply of `GetBuild`.
    package struct BuildDetails: Codable, Equatable, Sendable {
        package var build: BuildRecord
        /// What it was made from.
        package var inputs: JSONValue
        /// The build of that profile before it.
        package var previous: BuildID?
        /// What of the inputs differs from that one's.
        package var differences: [String]

        package init(build: BuildRecord, inputs: JSONValue, previous: BuildID?, differences: [String]) {
            self.build = build
            self.inputs = inputs
            self.previous = previous
            self.differences = differences
        }
    }

    /// Each reply of `GetBuildLog`.
    package struct BuildLogPart: Codable, Equatable, Sendable {
        package var text: String
        package init(text: String) { self.text = text }
    }
}

/// Makes rates and times left of how far a build or a download is.
package struct BuildMeter: Sendable {
    private static let settlingSeconds = 0.5

    private var step: BuildStep?
    private var beganAt = 0.0
    private var bytesAtBegin: UInt64 = 0

    package init() {}

    /// - Parameter now: seconds that only grow.
    package mutating func progress(
        _ step: BuildStep, _ bytesDone: UInt64, _ bytesTotal: UInt64?, now: Double
    ) -> Control.BuildProgress {
        if self.step != step { (self.step, beganAt, bytesAtBegin) = (step, now, bytesDone) }
        var result = Control.BuildProgress(step: step, bytesDone: bytesDone, bytesTotal: bytesTotal)
        let seconds = now - beganAt
        guard [.downloading, .unpacking].contains(step), seconds >= Self.settlingSeconds, bytesDone > bytesAtBegin
        else { return result }
        let rate = Double(bytesDone - bytesAtBegin) / seconds
        result.bytesPerSecond = rate
        if let bytesTotal, bytesTotal >= bytesDone { result.secondsLeft = Double(bytesTotal - bytesDone) / rate }
        return result
    }
}
