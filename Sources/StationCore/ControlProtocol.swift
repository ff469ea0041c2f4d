/// The vocabulary of the control socket: a Varlink interface, public and versioned from the first day.
///
/// One type per method's parameters and one per reply; their members are the names in `ControlInterface.description`.
package enum Control {
    /// Where the socket is when nobody says otherwise.
    package static let socketPath = "/run/flashing-station/control"

    /// Who may call a method.
    package enum Privilege: Int, Comparable, Sendable {
        /// Group `station`, `station-operator`, or root.
        case reader
        /// Group `station-operator`, or root.
        case `operator`
        case root

        package static func < (left: Privilege, right: Privilege) -> Bool { left.rawValue < right.rawValue }
    }

    /// The methods of the interface.
    package enum Method: String, CaseIterable, Sendable {
        case getStatus = "GetStatus"
        case watch = "Watch"
        case explain = "Explain"
        case listHistory = "ListHistory"
        case listImages = "ListImages"
        case watchDevices = "WatchDevices"
        case listCards = "ListCards"
        case getStatistics = "GetStatistics"
        case inspect = "Inspect"
        case assign = "Assign"
        case unassign = "Unassign"
        case arm = "Arm"
        case disarm = "Disarm"
        case flash = "Flash"
        case cancel = "Cancel"
        case identify = "Identify"
        case importImage = "ImportImage"
        case verifyImage = "VerifyImage"
        case removeImage = "RemoveImage"
        case listProfiles = "ListProfiles"
        case listProfileVersions = "ListProfileVersions"
        case getProfile = "GetProfile"
        case importProfile = "ImportProfile"
        case deleteProfile = "DeleteProfile"
        case forgiveCard = "ForgiveCard"
        case listBuilders = "ListBuilders"
        case getBuilder = "GetBuilder"
        case ensureBuilder = "EnsureBuilder"
        case pruneBuilders = "PruneBuilders"
        case build = "Build"
        case listBuilds = "ListBuilds"
        case getBuild = "GetBuild"
        case getBuildLog = "GetBuildLog"
        case cancelBuild = "CancelBuild"
        case removeBuild = "RemoveBuild"
        case reload = "Reload"
        case snapshotStore = "SnapshotStore"

        /// The least privilege that may call it.
        package var privilege: Privilege {
            switch self {
            case .getStatus, .watch, .explain, .listHistory, .listImages, .watchDevices, .listCards, .getStatistics,
                .inspect:
                .reader
            case .listProfiles, .listProfileVersions, .getProfile: .reader
            case .assign, .unassign, .arm, .disarm, .flash, .cancel, .identify: .operator
            case .importImage, .verifyImage, .removeImage, .forgiveCard, .importProfile, .deleteProfile: .operator
            case .listBuilders, .getBuilder, .listBuilds, .getBuild, .getBuildLog: .reader
            case .ensureBuilder, .pruneBuilders, .build, .cancelBuild, .removeBuild: .operator
            case .reload, .snapshotStore: .root
            }
        }

        /// Whether its replies go on for as long as the client listens.
        package var isSubscription: Bool { self == .watch || self == .watchDevices }

        /// Whether a file may come beside its call.
        package var takesFile: Bool { [.importImage, .importProfile, .snapshotStore].contains(self) }

        /// Whether what it does ends when the client hangs up.
        package var endsWithClient: Bool {
            isSubscription || [.importImage, .verifyImage, .inspect].contains(self)
        }

        /// With the interface's name in front, as it goes over the socket.
        package var qualifiedName: String { "\(ControlInterface.name).\(rawValue)" }
    }

    /// No parameters, or nothing to reply.
    package struct Empty: Codable, Equatable, Sendable {
        package init() {}
    }

    /// Names and globs of slots: `["slot1", "left-*"]`. Empty means all where a method says so.
    package struct Slots: Codable, Equatable, Sendable {
        package var slots: [String]
        package init(slots: [String]) { self.slots = slots }
    }

    /// Reply of `GetStatus` and of each step of `Watch`.
    package struct Status: Codable, Equatable, Sendable {
        package var version: String
        package var bootID: String
        /// A problem of the station as a whole, such as a slot file that was refused.
        package var problems: [StationError]
        package var slots: [SlotStatus]

        package init(version: String, bootID: String, problems: [StationError], slots: [SlotStatus]) {
            self.version = version
            self.bootID = bootID
            self.problems = problems
            self.slots = slots
        }
    }

    /// Parameters of `Explain`.
    package struct SlotQuery: Codable, Equatable, Sendable {
        package var slot: String
        package init(slot: String) { self.slot = slot }
    }

    /// Reply of `Explain`.
    package struct Gates: Codable, Equatable, Sendable {
        package var gates: [Gate]
        /// What else somebody should know about the slot.
        package var notes: [StationError]

        package init(gates: [Gate], notes: [StationError] = []) {
            self.gates = gates
            self.notes = notes
        }
    }

    /// Parameters of `ListHistory`: what is nil does not filter.
    package struct HistoryQuery: Codable, Equatable, Sendable {
        /// A name or glob.
        package var slot: String?
        /// A job id or its beginning.
        package var job: String?
        /// A verdict's word.
        package var verdict: String?
        /// Jobs that began at or after, and before: seconds since 1970.
        package var since: Double?
        package var until: Double?
        /// A card's key, or that of a job that failed on it, or the beginning of either.
        package var card: String?
        /// An image's name or glob.
        package var image: String?
        /// The newest so many; 50 when nil, 10,000 at most.
        package var limit: Int?

        package init(
            slot: String? = nil, job: String? = nil, verdict: String? = nil, since: Double? = nil,
            until: Double? = nil, card: String? = nil, image: String? = nil, limit: Int? = nil
        ) {
            self.slot = slot
            self.job = job
            self.verdict = verdict
            self.since = since
            self.until = until
            self.card = card
            self.image = image
            self.limit = limit
        }
    }

    /// Reply of `ListHistory`, newest first.
    package struct History: Codable, Equatable, Sendable {
        package var jobs: [JobRecord]
        package init(jobs: [JobRecord]) { self.jobs = jobs }
    }

    /// Reply of `ListImages`.
    package struct Images: Codable, Equatable, Sendable {
        package var images: [ImageRecord]
        package init(images: [ImageRecord]) { self.images = images }
    }

    /// Each reply of `WatchDevices`: one disk with a medium that is, or came, into some place; the first replies are those
    /// that are there already, then one reply with `device` nil, then each that comes.
    package struct DeviceSeen: Codable, Equatable, Sendable {
        package var device: DeviceRecord?
        /// The slot that declares its place.
        package var slot: SlotName?

        package init(device: DeviceRecord?, slot: SlotName?) {
            self.device = device
            self.slot = slot
        }
    }

    /// Parameters of `Assign`: one of image and profile.
    package struct Assign: Codable, Equatable, Sendable {
        package var slots: [String]
        package var image: String?
        /// A profile's id: its image is built, or taken from a build that is there.
        package var profile: String?

        package init(slots: [String], image: String? = nil, profile: String? = nil) {
            self.slots = slots
            self.image = image
            self.profile = profile
        }
    }

    /// Reply of the methods that change slots: the slots that were meant.
    package struct Changed: Codable, Equatable, Sendable {
        package var slots: [SlotName]
        /// Slots whose card is in and stays as it is until it is inserted again.
        package var withCardIn: [SlotName]
        /// Of `Assign`: whether the image is still being built. Cards wait for it.
        package var isPreparing: Bool?
        /// How far that is.
        package var progress: BuildProgress?

        package init(slots: [SlotName], withCardIn: [SlotName] = []) {
            self.slots = slots
            self.withCardIn = withCardIn
        }
    }

    /// Reply of `Flash`.
    package struct Begun: Codable, Equatable, Sendable {
        package var slots: [SlotName]
        package var withCardIn: [SlotName]
        package var job: JobID

        package init(slot: SlotName, job: JobID) {
            slots = [slot]
            withCardIn = [slot]
            self.job = job
        }
    }

    /// Parameters of `Flash`.
    package struct Flash: Codable, Equatable, Sendable {
        package var slot: String
        /// Instead of the slot's assignment, for this card only.
        package var image: String?
        package var isDryRun: Bool

        package init(slot: String, image: String?, isDryRun: Bool) {
            self.slot = slot
            self.image = image
            self.isDryRun = isDryRun
        }

        package init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            slot = try values.decode(String.self, forKey: .slot)
            image = try values.decodeIfPresent(String.self, forKey: .image)
            isDryRun = try values.decodeIfPresent(Bool.self, forKey: .isDryRun) ?? false
        }
    }

    /// Parameters of `Identify`.
    package struct Identify: Codable, Equatable, Sendable {
        package var slot: String
        /// 10 when nil.
        package var seconds: Int?

        /// How long it may take.
        package static let limits = 1...600

        package init(slot: String, seconds: Int?) {
            self.slot = slot
            self.seconds = seconds
        }
    }

    /// Reply of `Identify`: the lights that blink.
    package struct Identified: Codable, Equatable, Sendable {
        package var lights: [Light]
        package init(lights: [Light]) { self.lights = lights }
    }

    /// Parameters of `ImportImage`. The file's descriptor comes beside the message, and behind it those of its companions.
    package struct ImportImage: Codable, Equatable, Sendable {
        package var name: String
        /// Fail unless the file as it is given has this SHA-256, or what it unpacks to.
        package var sha256: String?
        /// Take bytes that begin with neither MBR nor GPT.
        package var isRaw: Bool
        /// Let the name stand for the new bytes if it stands for others; assignments keep the old ones.
        package var replaces: Bool
        /// The file's name without directories, nil for a pipe.
        package var fileName: String?
        /// Which file of an archive is the image.
        package var member: String?
        /// What the further descriptors are, in their order.
        package var companions: [ImportCompanion]

        package init(
            name: String, sha256: String? = nil, isRaw: Bool = false, replaces: Bool = false, fileName: String? = nil,
            member: String? = nil, companions: [ImportCompanion] = []
        ) {
            self.name = name
            self.sha256 = sha256
            self.isRaw = isRaw
            self.replaces = replaces
            self.fileName = fileName
            self.member = member
            self.companions = companions
        }

        package init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            name = try values.decode(String.self, forKey: .name)
            sha256 = try values.decodeIfPresent(String.self, forKey: .sha256)
            isRaw = try values.decodeIfPresent(Bool.self, forKey: .isRaw) ?? false
            replaces = try values.decodeIfPresent(Bool.self, forKey: .replaces) ?? false
            fileName = try values.decodeIfPresent(String.self, forKey: .fileName)
            member = try values.decodeIfPresent(String.self, forKey: .member)
            companions = try values.decodeIfPresent([ImportCompanion].self, forKey: .companions) ?? []
        }
    }

    /// Each reply of `ImportImage` and `VerifyImage`; the last one has `image`.
    package struct ImportProgress: Codable, Equatable, Sendable {
        package var step: ImportStep
        /// Of the file as it is: packed.
        package var bytesDone: UInt64
        /// Nil where the length is not known.
        package var bytesTotal: UInt64?
        /// Since the step began; nil in its beginning.
        package var bytesPerSecond: Double?
        /// Of the step, estimated.
        package var secondsLeft: Double?
        package var image: ImageRecord?

        package init(step: ImportStep, bytesDone: UInt64, bytesTotal: UInt64?, image: ImageRecord? = nil) {
            self.step = step
            self.bytesDone = bytesDone
            self.bytesTotal = bytesTotal
            self.image = image
        }
    }

    /// Parameters of `RemoveImage` and `VerifyImage`.
    package struct ImageQuery: Codable, Equatable, Sendable {
        package var name: String
        package init(name: String) { self.name = name }
    }
}
