import StationCore
import StationLinux

/// The requests about Image Builders and builds.
extension LibraryServer {
    /// How many devices go into one message: each has some hundred bytes.
    private static let profilesPerMessage = 100
    /// Each has about eighty.
    private static let entriesPerMessage = 400

    func performBuilding(_ request: LibraryRequest) throws(StationError) -> LibraryMessage {
        guard let builders, let builds else { throw Self.invalid("this library has no Image Builders") }
        switch request {
        case .ensureBuilder(let request):
            let fetch = BuilderFetch(
                builders, vault: vault, keyDirectories: keyDirectories, stop: connection.descriptor, progress: tellStep
            ) { [connection] tree throws(StationError) in
                try BuilderExamination.info(tree: tree, scratch: "\(tree).scratch", stop: connection.descriptor)
            }
            let (facts, profiles) = try fetch.ensure(request)
            var rest = profiles[...]
            while !rest.isEmpty {
                send(.builderProfiles(Array(rest.prefix(Self.profilesPerMessage))), mustArrive: true)
                rest = rest.dropFirst(Self.profilesPerMessage)
            }
            return .builder(facts)
        case .removeBuilder(let archive):
            try builders.remove(archive)
            return .removed
        case .build(let request):
            try HostMachine.requireBuilders()
            let build = Build(
                request: request, builders: builders, builds: builds, vault: vault, stop: connection.descriptor,
                progress: BuildProgressTeller(send: tellStep)
            ) { send(.log($0), mustArrive: false) }
            return .built(try build.run())
        case .verifyBuild(let build, let product):
            try verify(build, product, builds)
            return .verified
        case .removeBuild(let build):
            try builds.remove(build)
            return .removed
        case .listHoldings:
            builds.sweep()
            builders.sweep(now: SystemClock.wallSeconds())
            let parts = holdings(builders, builds).parts(entryCount: Self.entriesPerMessage)
            for part in parts.dropLast() { send(.someHoldings(part), mustArrive: true) }
            return .holdings(parts[parts.count - 1])
        default: throw Self.invalid("it is none about builds")
        }
    }

    private func tellStep(_ step: BuildStep, _ bytesDone: UInt64, _ bytesTotal: UInt64?) {
        send(.buildProgress(step, bytesDone: bytesDone, bytesTotal: bytesTotal), mustArrive: false)
    }

    /// Reads what a build made, and compares.
    private func verify(_ build: BuildID, _ product: BuildProduct, _ builds: BuildDirectory) throws(StationError) {
        for artifact in product.artifacts {
            guard ImagesOverview.isFileName(artifact.name) else { throw Self.invalid("an artifact has no file's name") }
            let path = builds.artifact(artifact.name, of: build)
            guard (try? FileStatus(of: path, followingLinks: false))?.kind == .regular else {
                throw StationError(
                    "artifact_missing", "\(artifact.name) of the build \(build.short) is gone",
                    remedy: "the next build of its profile makes it again")
            }
            let digest = try FileDigest.sha256(path) { () throws(StationError) in
                if connection.descriptor.hasInput { throw StationError("import_stopped", "it was stopped") }
            }
            guard digest.sha256 == artifact.sha256 else {
                throw StationError(
                    "artifact_damaged", "\(artifact.name) of the build \(build.short) has other bytes than were built",
                    remedy: "check the station's disk; the next build of its profile makes it again")
            }
        }
        if let card = product.card {
            try vault.verifyImage(card.sha256, byteCount: card.byteCount, stop: connection.descriptor)
        }
    }

    private func holdings(_ builders: BuilderDirectory, _ builds: BuildDirectory) -> LibraryHoldings {
        let size: (String) -> UInt64 = { path in
            (try? FileStatus(of: path, followingLinks: false))?.allocatedByteCount ?? 0
        }
        let overlays = (SmallFile.names(in: vault.directory) ?? []).filter { $0.hasSuffix(".overlay.tar") }
        return LibraryHoldings(
            images: vault.images().map { .init(name: $0.hexadecimal, byteCount: size(vault.path(of: $0))) },
            overlays: overlays.map { name in
                .init(name: String(name.prefix(64)), byteCount: size("\(vault.directory)/\(name)"))
            },
            builders: builders.archives().map { archive in
                .init(
                    name: archive.hexadecimal,
                    byteCount: builders.record(of: archive)?.facts.byteCount
                        ?? FileTree.byteCount(builders.directory(of: archive)))
            },
            builds: builds.builds().map {
                .init(name: $0.text, byteCount: FileTree.byteCount(builds.directory(of: $0)))
            },
            localKey: LocalKey(builds).fingerprint)
    }
}
