package import StationCore
import StationLinux

/// What somebody wants to have built.
package struct BuildOrder: Sendable {
    package var profile: StoredProfile
    /// Build anew though there is a build of the same inputs.
    package var isForced: Bool
    package var extraPackages: [String]
    /// Nil for the station itself.
    package var callerUserID: UInt32?

    package init(profile: StoredProfile, isForced: Bool, extraPackages: [String], callerUserID: UInt32?) {
        self.profile = profile
        self.isForced = isForced
        self.extraPackages = extraPackages
        self.callerUserID = callerUserID
    }
}

/// Has Image Builders fetched and images built, each once however many ask, and remembers what came of it.
///
/// Work that began goes on when nobody listens any more; `cancel` ends it.
package actor BuildRoom {
    package typealias Updates = AsyncThrowingStream<Control.BuildProgress, any Error>

    let store: Store
    let library: LibraryClient
    let journal: Journal
    private let imagesDirectory: String
    private let buildsDirectory: String
    private var configuration: StationConfiguration
    private var fetches: [BuilderTriple: SharedWork] = [:]
    private var runs: [SHA256Digest: SharedWork] = [:]
    private var builds: [SHA256Digest: BuildID] = [:]
    private var buildersInUse: [SHA256Digest: Int] = [:]
    private var freePlaces: Int
    private var queue: [CheckedContinuation<Void, Never>] = []
    /// Removes sealed bytes that no record needs any more.
    private let removeUnused: @Sendable (Set<SHA256Digest>) async -> Void
    /// Runs what seals bytes that no record knows of until it has ended.
    private let sealing: @Sendable (_ build: @Sendable () async throws -> BuildRecord) async throws -> BuildRecord

    /// - Parameters:
    ///   - removeUnused: removes images as soon as nobody may be sealing the very same.
    ///   - sealing: runs each build.
    package init(
        store: Store, library: LibraryClient, journal: Journal, imagesDirectory: String, buildsDirectory: String,
        configuration: StationConfiguration,
        removeUnused: @escaping @Sendable (Set<SHA256Digest>) async -> Void,
        sealing: @escaping @Sendable (_ build: @Sendable () async throws -> BuildRecord) async throws -> BuildRecord
    ) {
        self.store = store
        self.library = library
        self.journal = journal
        self.imagesDirectory = imagesDirectory
        self.buildsDirectory = buildsDirectory
        self.configuration = configuration
        self.removeUnused = removeUnused
        self.sealing = sealing
        freePlaces = configuration.parallelBuilds
    }

    /// Takes over a configuration that was read anew, for what begins from now on.
    package func configure(_ configuration: StationConfiguration) {
        freePlaces += configuration.parallelBuilds - self.configuration.parallelBuilds
        self.configuration = configuration
        admit()
    }

    // MARK: Image Builders

    /// Has an Image Builder ready.
    /// - Returns: how far it is, the last element with `builder`.
    package func ensureBuilder(_ triple: BuilderTriple, isRefresh: Bool, callerUserID: UInt32?) -> Updates {
        if let work = fetches[triple] { return work.follow() }
        let work = SharedWork()
        fetches[triple] = work
        let updates = work.follow()
        work.begin {
            do {
                let record = try await self.fetch(triple, isRefresh: isRefresh, callerUserID, work)
                var last = Control.BuildProgress(step: .examining)
                last.builder = record
                await self.fetchEnded(triple)
                work.end(with: last)
            } catch {
                await self.fetchEnded(triple)
                work.fail(error)
            }
        }
        return updates
    }

    private func fetchEnded(_ triple: BuilderTriple) { fetches[triple] = nil }

    private func fetch(
        _ triple: BuilderTriple, isRefresh: Bool, _ caller: UInt32?, _ work: SharedWork
    ) async throws -> BuilderRecord {
        let known = try await store.builder(for: triple)
        let isNew = known?.state != .ready
        if isNew { try await store.beginBuilder(triple, callerUserID: caller) }
        do {
            var profiles: [BuilderProfile] = []
            var facts: BuilderFacts?
            let request = BuilderRequest(
                triple: triple, source: configuration.builderSource, known: known?.sha256, isRefresh: isRefresh,
                byteLimit: try await room(of: .builders))
            for try await answer in library.perform(.ensureBuilder(request)) {
                switch answer {
                case .buildProgress(let step, let done, let total): work.tell(step, done, total)
                case .builderProfiles(let some): profiles += some
                case .builder(let some): facts = some
                default: break
                }
            }
            guard let facts else { throw StationError("library_lost", "station-library ended without an answer") }
            let record = try await store.finishBuilder(facts, profiles: profiles, callerUserID: caller)
            if isNew || record.sha256 != known?.sha256 {
                journal.write(.builderReady(record, callerUserID: caller))
                for warning in facts.warnings { journal.write(.builderDoubtful(triple, warning)) }
                await makeRoom()
            }
            return record
        } catch {
            let problem = error as? StationError ?? StationError("library_lost", "\(error)")
            try await store.failBuilder(triple, problem, callerUserID: caller)
            journal.write(.builderFailed(triple, problem))
            throw problem
        }
    }

    /// Whether a build works with an Image Builder, or it is being fetched.
    func isInUse(_ builder: BuilderRecord) -> Bool {
        let isFetched =
            (try? BuilderTriple(
                release: builder.release, target: builder.target, subtarget: builder.subtarget)).map {
                fetches[$0] != nil
            }
        return isFetched ?? false || builder.sha256.map { buildersInUse[$0] ?? 0 > 0 } ?? false
    }

    // MARK: Builds

    /// The build that an order would get without building; nil where it has to be built.
    /// - Throws: what `ensureBuilder` would throw without fetching anything: nothing.
    package func cached(_ order: BuildOrder) async throws -> BuildRecord? {
        guard !order.isForced, order.profile.profile.buildDefaults.rebuildIfCached != true,
            !order.profile.profile.isSnapshot
        else { return nil }
        let triple = try BuilderTriple(order.profile.profile)
        guard let builder = try await store.builder(for: triple), isUsable(builder) else { return nil }
        return try await hit(try await inputs(order, builder))
    }

    /// Builds, or finds the build of the same inputs.
    /// - Returns: how far it is and what it prints, the last element with `build`.
    package func build(_ order: BuildOrder) -> Updates {
        let (stream, continuation) = Updates.makeStream(bufferingPolicy: .bufferingNewest(SharedWork.updateLimit))
        Task {
            do {
                for try await progress in try await self.updates(order) { continuation.yield(progress) }
                continuation.finish()
            } catch { continuation.finish(throwing: error) }
        }
        return stream
    }

    /// Up to where it is known what is to be built, each order goes its own way; from there on equal ones go together.
    private func updates(_ order: BuildOrder) async throws -> Updates {
        let profile = order.profile.profile
        if let problem = profile.exportProblem(roots: configuration.exportRoots) {
            throw StationError(problem.code, "bin_dir: \(problem.message)", remedy: problem.remedy)
        }
        for package in order.extraPackages {
            guard let problem = ProfileRules.package.problem(with: package) else { continue }
            throw StationError(
                "parameter_invalid", "package \(problem.message)", remedy: "write \(ProfileRules.package.form)")
        }
        let triple = try BuilderTriple(profile)
        let builder = try await builder(for: triple, isSnapshot: profile.isSnapshot, order.callerUserID)
        let inputs = try await inputs(order, builder)
        if let work = runs[inputs.key] { return work.follow() }
        if !order.isForced, profile.buildDefaults.rebuildIfCached != true, let record = try await hit(inputs) {
            try await store.noteBuildUsed(record.id)
            journal.write(.buildReused(record))
            var last = Control.BuildProgress(step: .collecting)
            last.build = record
            last.isReused = true
            return Updates { continuation in
                continuation.yield(last)
                continuation.finish()
            }
        }
        // While the store was asked, another may have begun.
        if let work = runs[inputs.key] { return work.follow() }
        return begin(order, inputs, triple)
    }

    private func builder(
        for triple: BuilderTriple, isSnapshot: Bool, _ caller: UInt32?
    ) async throws -> BuilderRecord {
        let mayRefresh = isSnapshot && !configuration.builderSource.isOffline
        if !mayRefresh, let builder = try await store.builder(for: triple), isUsable(builder) { return builder }
        var record: BuilderRecord?
        for try await progress in ensureBuilder(triple, isRefresh: mayRefresh, callerUserID: caller) {
            record = progress.builder ?? record
        }
        guard let record else { throw StationError("library_lost", "the Image Builder did not come") }
        return record
    }

    /// Whether it is there, and vouched for as the configuration wants it now.
    private func isUsable(_ builder: BuilderRecord) -> Bool {
        builder.state == .ready && configuration.builderSource.takes(builder.vouching)
    }

    private func inputs(_ order: BuildOrder, _ builder: BuilderRecord) async throws -> BuildInputs {
        guard let sha256 = builder.sha256, let revision = builder.revision else {
            throw StationError("builder_missing", "the Image Builder \(builder.title) is not there")
        }
        let profile = order.profile.profile
        let key = profile.addLocalKey == true ? try await holdings().localKey : nil
        return BuildInputs(
            profile: profile, builder: sha256, versionCode: revision,
            overlaySHA256: order.profile.record.overlaySHA256, extraPackages: order.extraPackages, localKey: key)
    }

    private func begin(_ order: BuildOrder, _ inputs: BuildInputs, _ triple: BuilderTriple) -> Updates {
        let (work, id, key) = (SharedWork(), BuildID(), inputs.key)
        runs[key] = work
        builds[key] = id
        buildersInUse[inputs.builder, default: 0] += 1
        let updates = work.follow()
        work.begin {
            do {
                let record = try await self.run(id, order, inputs, triple, work)
                await self.ended(key, inputs.builder)
                var last = Control.BuildProgress(step: .collecting)
                last.build = record
                last.isReused = false
                work.end(with: last)
            } catch {
                await self.ended(key, inputs.builder)
                work.fail(error)
            }
        }
        return updates
    }

    private func ended(_ key: SHA256Digest, _ builder: SHA256Digest) {
        runs[key] = nil
        builds[key] = nil
        buildersInUse[builder, default: 1] -= 1
    }

    private func run(
        _ id: BuildID, _ order: BuildOrder, _ inputs: BuildInputs, _ triple: BuilderTriple, _ work: SharedWork
    ) async throws -> BuildRecord {
        let begun = try await store.beginBuild(
            id: id, profile: order.profile.record, inputs: inputs, triple: triple, callerUserID: order.callerUserID)
        await takePlace()
        do {
            let record = try await sealing { try await self.ask(id, order, inputs, triple, work) }
            leavePlace()
            journal.write(.buildSucceeded(record))
            await makeRoom()
            return record
        } catch {
            leavePlace()
            let isCancelled = Task.isCancelled || error is CancellationError
            let problem =
                isCancelled
                ? StationError("build_cancelled", "the build \(id.short) was cancelled", remedy: "")
                : error as? StationError ?? StationError("library_lost", "\(error)")
            let record = try await store.failBuild(id, isCancelled ? .cancelled : .failed, problem)
            journal.write(.buildFailed(record, problem))
            throw StationError(
                problem.code, problem.message, remedy: problem.remedy.replacing("BUILD", with: begun.id.short))
        }
    }

    private func ask(
        _ id: BuildID, _ order: BuildOrder, _ inputs: BuildInputs, _ triple: BuilderTriple, _ work: SharedWork
    ) async throws -> BuildRecord {
        try Task.checkCancellation()
        let profile = order.profile.profile
        let request = BuildRequest(
            id: id, triple: triple, builder: inputs.builder, profile: profile, overlaySHA256: inputs.overlaySHA256,
            extraPackages: order.extraPackages, limits: configuration.buildLimits,
            keepsDirectory: profile.buildDefaults.keepBuildDirectory == true, exportDirectory: profile.binDirectory,
            byteLimit: try await room(of: .images))
        var product: BuildProduct?
        for try await answer in library.perform(.build(request)) {
            switch answer {
            case .buildProgress(let step, let done, let total): work.tell(step, done, total)
            case .log(let text): work.tell(log: text)
            case .built(let some): product = some
            default: break
            }
        }
        try Task.checkCancellation()
        guard let product else { throw StationError("library_lost", "station-library ended without an answer") }
        try await store.noteBuilderUsed(inputs.builder)
        // The key that a first build made is part of what it yields.
        var inputs = inputs
        if profile.addLocalKey == true { inputs.localKey = product.localKey }
        return try await store.finishBuild(id, product, inputs: inputs)
    }

    /// Ends a build that runs or waits. False when none of that id does.
    package func cancel(_ id: BuildID) -> Bool {
        guard let key = builds.first(where: { $0.value == id })?.key, let work = runs[key] else { return false }
        // One that waits for its place ends when its turn has come, before anything of it runs.
        work.cancel()
        return true
    }

    private func takePlace() async {
        guard freePlaces <= 0 || !queue.isEmpty else {
            freePlaces -= 1
            return
        }
        await withCheckedContinuation { queue.append($0) }
    }

    private func leavePlace() {
        freePlaces += 1
        admit()
    }

    private func admit() {
        while freePlaces > 0, !queue.isEmpty {
            freePlaces -= 1
            queue.removeFirst().resume()
        }
    }

    // MARK: What is there

    /// The build of some inputs whose files are as they were.
    private func hit(_ inputs: BuildInputs) async throws -> BuildRecord? {
        guard let record = try await store.build(of: inputs.key), let product = record.product else { return nil }
        if isAsItWas(record.id, product) { return record }
        // Something was done to a file: it is read before it is believed.
        do {
            for try await _ in library.perform(.verifyBuild(record.id, product)) {}
            return record
        } catch {
            let problem = error as? StationError ?? StationError("library_lost", "\(error)")
            guard ["artifact_missing", "artifact_damaged", "image_missing", "image_damaged"].contains(problem.code)
            else {
                throw error
            }
            journal.write(.buildFailed(record, problem))
            if let image = try await store.forgetFiles(of: record.id, callerUserID: nil) { await removeUnused([image]) }
            return nil
        }
    }

    /// Looks at the files, and reads none.
    private func isAsItWas(_ id: BuildID, _ product: BuildProduct) -> Bool {
        let artifacts = product.artifacts.allSatisfy { artifact in
            (try? FileWitness(of: "\(buildsDirectory)/\(id)/artifacts/\(artifact.name)")) == artifact.witness
        }
        let card = product.card.map { (try? FileWitness(of: "\(imagesDirectory)/\($0.sha256).img")) == $0.witness }
        return artifacts && card ?? true
    }

    /// Everything in the library, with what it takes.
    func holdings() async throws -> LibraryHoldings {
        var result = LibraryHoldings(images: [], overlays: [], builders: [], builds: [])
        for try await answer in library.perform(.listHoldings) {
            if case .someHoldings(let part) = answer { result.add(part) }
            guard case .holdings(let last) = answer else { continue }
            result.add(last)
            return result
        }
        throw StationError("library_lost", "station-library ended without an answer")
    }

    /// What one part of the library may take in all, beside what the others cannot do without. Builds that nothing needs are
    /// counted as room: they make way when what comes is there (`makeRoom`), not before it is known to fit.
    /// - Throws: `storage_full`.
    func room(of part: LibraryPart) async throws -> UInt64 {
        let holdings = try await holdings()
        let total = holdings.byteCount
        var dispensable: UInt64 = 0
        for build in try await store.unassignedBuilds() where !builds.values.contains(build.id) {
            dispensable += holdings.byteCount(of: build)
        }
        let limit = configuration.storageLimit + min(dispensable, total)
        guard total < limit else {
            throw StationError(
                "storage_full",
                "the library takes \(Quantity.bytes(total)), and StorageLimit= is \(Quantity.bytes(configuration.storageLimit)); all of it "
                    + "is assigned or was imported",
                remedy: "stationctl image remove, stationctl builder prune, or raise StorageLimit=")
        }
        return limit - (total - holdings.byteCount(of: part))
    }

    /// The parts of the library that are limited one by one, by what the others leave.
    enum LibraryPart { case images, builders }

    /// Takes away what no slot needs until the library fits into `StorageLimit=`: what no record knows and logs of builds that made
    /// nothing, then builds, the one used longest ago first.
    func makeRoom() async {
        do {
            let holdings = try await holdings()
            var total = holdings.byteCount
            guard total > configuration.storageLimit else { return }
            for entry in holdings.builds where total > configuration.storageLimit {
                var record: BuildRecord?
                do { record = try await store.build(entry.name).record } catch {
                    // Only what has no record may go for having none; a store that cannot be read knows nothing.
                    guard error.code == "build_unknown" else { throw error }
                }
                guard let id = BuildID(entry.name), record?.isKept != true, record?.state != .running else { continue }
                try await library.complete(.removeBuild(id))
                total -= min(total, entry.byteCount)
            }
            for build in try await store.unassignedBuilds() where total > configuration.storageLimit {
                guard !builds.values.contains(build.id) else { continue }
                try await remove(build, callerUserID: nil)
                total -= min(total, holdings.byteCount(of: build))
            }
        } catch {
            journal.write(.storeProblem(error as? StationError ?? StationError("library_lost", "\(error)")))
        }
    }

    /// Takes away what a build made; its record stays.
    package func remove(_ build: BuildRecord, callerUserID: UInt32?) async throws {
        let unused = try await store.forgetFiles(of: build.id, callerUserID: callerUserID)
        try await library.complete(.removeBuild(build.id))
        if let unused { await removeUnused([unused]) }
    }
}

extension LibraryHoldings {
    fileprivate static func sum(_ entries: [Entry]) -> UInt64 { entries.reduce(0) { $0 + $1.byteCount } }
    fileprivate var byteCount: UInt64 { Self.sum(images) + Self.sum(overlays) + Self.sum(builders) + Self.sum(builds) }

    /// What a build's files and its card image take on the disk: without their holes.
    fileprivate func byteCount(of build: BuildRecord) -> UInt64 {
        let image = build.product?.card?.sha256.hexadecimal
        return Self.sum(builds.filter { $0.name == build.id.text }) + Self.sum(images.filter { $0.name == image })
    }

    fileprivate func byteCount(of part: BuildRoom.LibraryPart) -> UInt64 {
        switch part {
        case .images: Self.sum(images)
        case .builders: Self.sum(builders)
        }
    }
}
