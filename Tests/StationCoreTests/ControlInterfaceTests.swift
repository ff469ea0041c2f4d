import FoundationEssentials
import StationCore
import Testing

@Suite("control interface: the description is what is encoded")
struct ControlInterfaceTests {
    private static func names(_ value: some Encodable) throws -> Set<String> {
        Set(try JSONDecoder().decode([String: JSONValue].self, from: JSONEncoder().encode(value)).keys)
    }

    private static func described(_ type: String) throws -> Set<String> {
        Set(try #require(ControlInterface.memberNames(after: "type \(type) (")))
    }

    private struct Sample {
        let place: Place
        let reader: Reader
        let digest: SHA256Digest
        let slot: SlotName
        let image: ImageName
        let device: DeviceRecord
        let assignment: Assignment
        let report: JobReport
        let card: CardRecord
        let inspection: CardInspection
        let job: JobRecord
        let status: SlotStatus
        let ended: SlotStatus
        let profile: StoredProfile
        let triple: BuilderTriple
        let builder: BuilderRecord
        let build: BuildRecord

        /// Every value with every member that it can have.
        init() throws {
            place = try Place(text: "mmc at platform/soc/fe340000.mmc")
            reader = .mmcHost
            let recipe = Profile(
                profileID: "p", name: "n", deviceID: "d", release: "r", target: "t", subtarget: "s",
                imageBuilderProfile: "i")
            digest = try #require(SHA256Digest(String(repeating: "0", count: 64)))
            profile = StoredProfile(
                record: ProfileRecord(
                    recipe, version: 1, overlaySHA256: digest, importedAt: 1, importedByUserID: 1),
                profile: recipe, createdAt: 1)
            slot = try SlotName("slot1")
            image = try ImageName("image")
            device = DeviceRecord(
                name: "mmcblk0", devicePath: "/devices/x", deviceSequence: 1, byteCount: 1_000_000_000, place: place,
                otherSide: place, reader: reader, model: "m", cardID: "c", cardType: "SD")
            let buildID = BuildID()
            assignment = Assignment(image: image, sha256: digest, byteCount: 1, profile: "p", build: buildID)
            triple = try BuilderTriple(release: "1", target: "t", subtarget: "s")
            var builder = BuilderRecord(triple: triple, state: .ready, changedAt: 1, changedByUserID: 1)
            builder.take(
                BuilderFacts(
                    triple: triple, archiveName: "a", archiveSHA256: digest, archiveByteCount: 1, byteCount: 1,
                    vouching: ImageVouching(kind: .signature, subject: .file, key: "k"), mirror: "m",
                    info: BuilderInfo(
                        target: "t/s", architecture: "x", revision: "r", defaultPackages: [], profiles: []),
                    wasThere: false, warnings: []))
            (builder.lastUsedAt, builder.problem) = (1, StationError("a", "b"))
            self.builder = builder
            var build = BuildRecord(
                sequence: 1, id: buildID, profileID: "p", profileVersion: 1, triple: triple, key: digest,
                builderSHA256: digest, state: .succeeded, startedAt: 1, wasClockSynchronised: true, callerUserID: 1)
            let witness = FileWitness(inode: 1, byteCount: 1, modifiedAt: 1, changedAt: 1)
            build.product = BuildProduct(
                artifacts: [
                    Artifact(
                        name: "a", type: "b", filesystem: "c", byteCount: 1, sha256: digest, witness: witness)
                ], versionCode: "r", packageCount: 1,
                card: CardImage(artifact: "a", sha256: digest, byteCount: 1, witness: witness),
                cardRefusal: StationError("a", "b"), byteCount: 1, localKey: digest)
            (build.endedAt, build.lastUsedAt, build.problem) = (1, 1, StationError("a", "b"))
            self.build = build
            var report = JobReport(.failed(.dataMismatch), detail: "d")
            report.cardID = "c"
            report.firstBadOffset = 1
            report.readBackSHA256 = digest
            report.headSHA256 = digest
            report.foundMarker = JobID()
            report.bytesUnchanged = 1
            report.compareSeconds = 1
            self.report = report
            var machine = SlotMachine(
                slot: SlotDeclaration(name: slot, place: place, reader: reader), isArmed: true, assignment: assignment)
            let effects = machine.handle(.device(device, .card(slot), bootID: "b", wasThere: false), now: 1)
            guard case .begin(let start)? = effects.first else {
                throw StationError("test", "no job began")
            }
            let progress = JobProgress(
                phase: .writing, phaseBytesDone: 5, phaseBytesTotal: 10, bytesDone: 5, bytesTotal: 20, elapsedSeconds: 5
            )
            _ = machine.handle(.writer(start.id, .progress(JobProgress(phase: .writing))), now: 2)
            _ = machine.handle(.writer(start.id, .progress(progress)), now: 2)
            status = SlotStatus(machine)
            var card = CardRecord(
                card: CardKey(firstFailure: start.id), identity: .marker, byteCount: 1, model: "m", at: 1)
            card.failed(
                CardRecord.Failure(job: start.id, slot: slot, reason: .writeError, at: 1, wasClockSynchronised: true))
            self.card = card
            _ = machine.handle(.recalled(start.token, nil, card), now: 3)
            _ = machine.handle(.writer(start.id, .ended(report)), now: 3)
            var ended = SlotStatus(machine)
            ended.disarmReason = .failuresInARow
            self.ended = ended
            var contents = CardContents(cardByteCount: 1, sectorByteCount: 512, cardID: "c")
            contents.refusal = .noMedium
            contents.table = "dos"
            contents.signature = CardContents.Signature(type: "ext4", label: "l", uuid: "u")
            contents.partitions = [
                CardContents.Partition(
                    number: 1, offset: 512, byteCount: 512, type: "0x83", name: "n", signature: contents.signature)
            ]
            contents.marker = CardContents.Mark(job: start.id, state: "failed", reason: "write_error")
            contents.headSHA256 = digest
            var comparison = CardContents.Comparison(sha256: digest, byteCount: 1, readSHA256: digest)
            comparison.firstDifferentOffset = 0
            comparison.differentByteCount = 1
            contents.comparisons = [comparison]
            var asked = start
            asked.callerUserID = 5
            job = JobRecord(
                sequence: 1, start: asked, startedAt: 1, wasClockSynchronised: true, run: "r", report: report,
                card: card.card)
            var inspection = CardInspection(
                slot: slot, contents: contents, writings: [], markedBy: job, memory: card)
            inspection.contents.failure = .readError
            self.inspection = inspection
        }
    }

    @Test("the members of each type are those that are encoded")
    func types() throws {
        let sample = try Sample()
        #expect(try Self.names(sample.device) == Self.described("DeviceRecord"))
        #expect(try Self.names(sample.assignment) == Self.described("Assignment"))
        #expect(try Self.names(sample.report) == Self.described("JobReport"))
        #expect(try Self.names(sample.report.verdict) == Self.described("Verdict"))
        #expect(try Self.names(sample.job) == Self.described("JobRecord"))
        #expect(try Self.names(sample.builder) == Self.described("BuilderRecord"))
        #expect(try Self.names(sample.build) == Self.described("BuildRecord"))
        let product = try #require(sample.build.product)
        #expect(try Self.names(product) == Self.described("BuildProduct"))
        #expect(try Self.names(try #require(product.artifacts.first)) == Self.described("Artifact"))
        #expect(try Self.names(try #require(product.card)) == Self.described("CardImage"))
        #expect(try Self.names(try #require(product.card).witness) == Self.described("FileWitness"))
        #expect(try Self.names(Self.buildProgress(sample)) == Self.described("BuildProgress"))
        let device = BuilderProfile(
            name: "a", title: "b", packages: [], hasImageMetadata: true, supportedDevices: [])
        #expect(try Self.names(device) == Self.described("BuilderProfile"))
        let preparation = SlotStatus.Preparation(profile: "p", problem: StationError("a", "b"))
        #expect(try Self.names(preparation) == Self.described("Preparation"))
        #expect(try Self.described("BuildStep") == Set(BuildStep.allCases.map(\.rawValue)))
        #expect(try Self.described("BuilderState") == Set(BuilderRecord.State.allCases.map(\.rawValue)))
        #expect(try Self.described("BuildState") == Set(BuildRecord.State.allCases.map(\.rawValue)))
        #expect(try Self.names(StationError("a", "b")) == Self.described("Problem"))
        #expect(try Self.names(Gate("a", true, "b")) == Self.described("Gate"))
        #expect(try Self.names(JobProgress(phase: .writing)) == Self.described("Progress"))
        #expect(try Self.names(try #require(sample.ended.card)) == Self.described("Card"))
        #expect(try Self.names(sample.card) == Self.described("CardRecord"))
        #expect(try Self.names(try #require(sample.card.lastFailure)) == Self.described("CardFailure"))
        var statistics = SlotStatistics(slot: sample.slot, samples: [])
        statistics.usualBytesPerSecond = 1
        statistics.recentBytesPerSecond = 1
        #expect(try Self.names(statistics) == Self.described("SlotStatistics"))
        let contents = sample.inspection.contents
        #expect(try Self.names(sample.inspection) == Self.described("CardInspection"))
        #expect(try Self.names(contents) == Self.described("CardContents"))
        #expect(try Self.names(contents.signature) == Self.described("Signature"))
        #expect(try Self.names(try #require(contents.partitions.first)) == Self.described("Partition"))
        #expect(try Self.names(try #require(contents.comparisons.first)) == Self.described("Comparison"))
        #expect(try Self.names(try #require(contents.marker)) == Self.described("CardMark"))
        let image = ImageRecord(
            name: sample.image, sha256: sample.digest, byteCount: 1, importedAt: 1, importedByUserID: 1)
        #expect(try Self.names(image) == Self.described("ImageRecord"))
        #expect(try Self.names(sample.profile.record) == Self.described("ProfileRecord"))
        let vouching = ImageVouching(kind: .signature, subject: .file, key: "k")
        #expect(try Self.names(vouching) == Self.described("Vouching"))
        let origin = ImageOrigin(fileName: "f", container: "gzip", isChecked: true, vouching: vouching)
        #expect(try Self.names(origin) == Self.described("ImageOrigin"))
        // Progress and reason, rates and report are never there at one time.
        let absent = SlotStatus(
            SlotMachine(slot: SlotDeclaration(name: sample.slot, place: sample.place, reader: sample.reader)),
            elsewhere: sample.place)
        var preparing = absent
        preparing.preparation = preparation
        let slots = [sample.status, sample.ended, absent, preparing]
        #expect(try slots.reduce(into: Set()) { $0.formUnion(try Self.names($1)) } == Self.described("SlotStatus"))
        let jobs = slots.compactMap(\.job)
        #expect(try jobs.reduce(into: Set()) { $0.formUnion(try Self.names($1)) } == Self.described("SlotJob"))
        let lights = SlotLights(light: .led("green"), failureLight: .led("red"))
        #expect(try Self.names(lights) == Self.described("SlotLights"))
    }

    @Test("enumerations have the words that are encoded")
    func enumerations() throws {
        #expect(try Self.described("Phase") == Set(JobPhase.allCases.map(\.rawValue)))
        let verdicts: [Verdict] = [.passed, .failed(.writeError), .refused(.noMedium), .cancelled, .interrupted]
        #expect(try Self.described("VerdictWord") == Set(verdicts.map(\.word)))
        #expect(
            try Self.described("SlotState")
                == Set(verdicts.map(\.word) + ["absent", "empty", "waiting", "running", "stuck"]))
        #expect(try Self.described("Signal") == Set(Signal.allCases.map(\.rawValue)))
        #expect(try Self.described("CardState") == Set(CardState.allCases.map(\.rawValue)))
        #expect(try Self.described("CardIdentity") == ["cid", "marker"])
        #expect(try Self.described("Origin") == Set(CardInspection.Origin.allCases.map(\.rawValue)))
        #expect(try Self.described("VouchingKind") == Set(ImageVouching.Kind.allCases.map(\.rawValue)))
        #expect(try Self.described("VouchingSubject") == ["file", "image"])
        #expect(try Self.described("Companion") == Set(ImportCompanion.allCases.map(\.rawValue)))
        #expect(try Self.described("ImportStep") == Set(ImportStep.allCases.map(\.rawValue)))
        let triggers: [JobTrigger] = [.insertion, .flash, .resumed, .atBoot]
        #expect(try Self.described("Trigger") == Set(triggers.map(\.rawValue)))
    }

    /// Parameters and a reply of each method, with every member they can have.
    private static func messages(_ method: Control.Method, _ sample: Sample) -> (any Encodable, any Encodable) {
        let empty = Control.Empty()
        let status = Control.Status(version: "1", bootID: "b", problems: [], slots: [])
        let slots = Control.Slots(slots: [])
        let changed = Control.Changed(slots: [])
        let image = ImageRecord(
            name: sample.image, sha256: sample.digest, byteCount: 1, importedAt: 1, importedByUserID: 1)
        return switch method {
        case .getStatus, .watch: (empty, status)
        case .explain: (Control.SlotQuery(slot: "a"), Control.Gates(gates: []))
        case .listHistory:
            (
                Control.HistoryQuery(
                    slot: "a", job: "b", verdict: "passed", since: 1, until: 2, card: "c", image: "d", limit: 1),
                Control.History(jobs: [])
            )
        case .listImages: (empty, Control.Images(images: []))
        case .watchDevices: (empty, Control.DeviceSeen(device: sample.device, slot: sample.slot))
        case .listCards:
            (Control.CardQuery(card: "a", state: "suspect", since: 1, limit: 1), Control.Cards(cards: []))
        case .getStatistics: (empty, Control.Statistics(slots: []))
        case .inspect: (Control.SlotQuery(slot: "a"), Control.InspectProgress(inspection: sample.inspection))
        case .forgiveCard: (Control.CardReference(card: "a"), Control.Card(card: sample.card))
        case .assign:
            (Control.Assign(slots: [], image: "a", profile: "b"), Self.preparing)
        case .unassign, .arm, .disarm, .cancel: (slots, changed)
        case .flash:
            (Control.Flash(slot: "a", image: "b", isDryRun: true), Control.Begun(slot: sample.slot, job: JobID()))
        case .identify: (Control.Identify(slot: "a", seconds: 1), Control.Identified(lights: []))
        case .importImage:
            (
                Control.ImportImage(
                    name: "a", sha256: "b", isRaw: true, replaces: true, fileName: "c", member: "d", companions: [.bmap]
                ),
                importProgress(image)
            )
        case .verifyImage: (Control.ImageQuery(name: "a"), importProgress(image))
        case .removeImage: (Control.ImageQuery(name: "a"), empty)
        case .listProfiles:
            (Control.ProfileFilter(tag: "a", device: "b", release: "c", target: "d"), Control.Profiles(profiles: []))
        case .listProfileVersions: (Control.ProfileQuery(profileID: "a"), Control.Profiles(profiles: []))
        case .getProfile:
            (Control.ProfileVersionQuery(profileID: "a", version: 1), Control.ProfileContent(sample.profile))
        case .importProfile:
            (
                Control.ImportProfile(profile: .object([:]), overlaySHA256: sample.digest),
                Control.ImportedProfile(profile: sample.profile.record, isNewVersion: true)
            )
        case .deleteProfile: (Control.ProfileQuery(profileID: "a"), empty)
        case .listBuilders: (empty, Control.Builders(builders: []))
        case .getBuilder:
            (
                Self.withoutRefresh, Control.BuilderDetails(builder: sample.builder, profiles: [])
            )
        case .ensureBuilder: (Control.BuilderQuery(sample.triple, isRefresh: true), buildProgress(sample))
        case .pruneBuilders:
            (Control.Prune(isDryRun: true, olderThanDays: 1), Control.Pruned(builders: [], byteCount: 0))
        case .build:
            (Control.Build(profileID: "a", isForced: true, packages: ["b"]), buildProgress(sample))
        case .listBuilds:
            (Control.BuildFilter(profile: "a", state: .failed, limit: 1), Control.Builds(builds: []))
        case .getBuild:
            (
                Control.BuildQuery(build: "a"),
                Control.BuildDetails(
                    build: sample.build, inputs: .object([:]), previous: sample.build.id, differences: [])
            )
        case .getBuildLog: (Control.BuildQuery(build: "a"), Control.BuildLogPart(text: "a"))
        case .cancelBuild, .removeBuild: (Control.BuildQuery(build: "a"), empty)
        case .reload: (empty, empty)
        case .snapshotStore:
            (
                empty,
                StoreSummary(
                    schemaVersion: 1, imageCount: 1, profileCount: 1, buildCount: 1, jobCount: 1, cardCount: 1,
                    byteCount: 1)
            )
        }
    }

    /// What `GetBuilder` takes: all of a query but what is for `EnsureBuilder`.
    private static let withoutRefresh = ["release": "a", "target": "b", "subtarget": "c"]

    private static var preparing: Control.Changed {
        var changed = Control.Changed(slots: [])
        (changed.isPreparing, changed.progress) = (true, Control.BuildProgress(step: .building))
        return changed
    }

    private static func buildProgress(_ sample: Sample) -> Control.BuildProgress {
        var progress = Control.BuildProgress(step: .building, bytesDone: 1, bytesTotal: 1)
        (progress.bytesPerSecond, progress.secondsLeft, progress.log) = (1, 1, "a")
        (progress.builder, progress.build, progress.isReused) = (sample.builder, sample.build, true)
        return progress
    }

    private static func importProgress(_ image: ImageRecord) -> Control.ImportProgress {
        var progress = Control.ImportProgress(step: .reading, bytesDone: 1, bytesTotal: 1, image: image)
        (progress.bytesPerSecond, progress.secondsLeft) = (1, 1)
        return progress
    }

    @Test("parameters and replies of each method are those that are encoded", arguments: Control.Method.allCases)
    func methods(method: Control.Method) throws {
        let (parameters, reply) = Self.messages(method, try Sample())
        #expect(Set(ControlInterface.parameterNames(of: method)) == (try Self.names(parameters)))
        #expect(Set(try #require(ControlInterface.replyNames(of: method))) == (try Self.names(reply)))
    }

    @Test("the description describes these methods and the one error, and nothing else")
    func complete() throws {
        let lines = ControlInterface.description.split(separator: "\n").map(String.init)
        let methods = lines.filter { $0.hasPrefix("method ") }.compactMap { line in
            line.dropFirst(7).split(separator: "(").first.map(String.init)
        }
        #expect(methods == Control.Method.allCases.map(\.rawValue))
        #expect(lines.filter { $0.hasPrefix("error ") } == ["error Failed ("])
        #expect(
            Set(try #require(ControlInterface.memberNames(after: "error Failed ("))) == ["code", "message", "remedy"])
        #expect(lines.contains("interface \(ControlInterface.name)"))
    }

    @Test("flags of Flash and ImportImage may be left out")
    func defaults() throws {
        let flash = try JSONDecoder().decode(Control.Flash.self, from: Data(#"{"slot":"a"}"#.utf8))
        #expect(flash == Control.Flash(slot: "a", image: nil, isDryRun: false))
        let image = try JSONDecoder().decode(Control.ImportImage.self, from: Data(#"{"name":"a"}"#.utf8))
        #expect(image == Control.ImportImage(name: "a", sha256: nil, isRaw: false, replaces: false))
    }
}
