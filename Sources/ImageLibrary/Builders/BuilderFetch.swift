import Glibc
package import StationCore
package import StationLinux

/// Has an Image Builder ready in the library: the one that is there, or one that is fetched, verified, unpacked and asked what it
/// can build.
package struct BuilderFetch {
    private static let signatureLimit = 64 * 1024
    /// An archive takes about so many times as much when it is unpacked.
    private static let unpackedFactor: UInt64 = 4

    private let directory: BuilderDirectory
    private let vault: ImageVault
    private let keyDirectories: [String]
    private let machine: String
    private let stop: Descriptor?
    private let progress: BuildProgressTeller
    private let examine: (String) throws(StationError) -> BuilderInfo
    private let firstWait: Double

    /// - Parameters:
    ///   - vault: where scratch files are made.
    ///   - machine: what this host is, as uname(2) says.
    ///   - stop: everything ends as soon as there is something to read from it, or its other end is gone.
    ///   - examine: runs `make info` in a builder's tree.
    package init(
        _ directory: BuilderDirectory, vault: ImageVault, keyDirectories: [String],
        machine: String = HostMachine.name, stop: Descriptor?, firstWait: Double = 1,
        progress: @escaping (BuildStep, UInt64, UInt64?) -> Void,
        examine: @escaping (String) throws(StationError) -> BuilderInfo
    ) {
        self.directory = directory
        self.vault = vault
        self.keyDirectories = keyDirectories
        self.machine = machine
        self.stop = stop
        self.firstWait = firstWait
        self.progress = BuildProgressTeller(send: progress)
        self.examine = examine
    }

    /// Blocks.
    /// - Throws: `builder_host_unsupported`, `builder_offline`, `download_…`, `tls_failed`, `sums_…`, `key_unknown`,
    ///   `signature_wrong`, `signature_missing`, `signature_invalid`, `hash_mismatch`, `builder_archive_invalid`, `storage_full`,
    ///   `import_stopped`, and what `make info` comes to.
    package func ensure(_ request: BuilderRequest) throws(StationError) -> (BuilderFacts, [BuilderProfile]) {
        try HostMachine.requireBuilders(machine)
        if let there = present(request) { return there }
        guard !request.source.isOffline else {
            throw StationError(
                "builder_offline",
                "the Image Builder \(request.triple) is not here, and Offline=yes lets nothing be fetched",
                remedy: "set Offline=no under [ImageBuilder] in station.conf, then: stationctl builder ensure "
                    + "\(request.triple.release) \(request.triple.target) \(request.triple.subtarget)")
        }
        let lock = try directory.lock(request.triple) { () throws(StationError) in
            progress.tell(.resolving, 0, nil)
            try pause()
        }
        defer { withExtendedLifetime(lock) {} }
        // Whoever was before may have fetched it.
        if let there = present(request) { return there }
        directory.sweep(now: SystemClock.wallSeconds())
        return try fetch(request)
    }

    /// What is here already, where that is good enough.
    private func present(_ request: BuilderRequest) -> (BuilderFacts, [BuilderProfile])? {
        // A release never changes.
        let isSettled = !request.isRefresh || request.source.isOffline || !request.triple.isSnapshot
        guard isSettled else { return nil }
        let record = request.known.flatMap { directory.record(of: $0) } ?? directory.record(of: request.triple)
        guard let record, record.facts.triple == request.triple, request.source.takes(record.facts.vouching) else {
            return nil
        }
        return there(record)
    }

    private func there(_ record: BuilderDirectory.Record) -> (BuilderFacts, [BuilderProfile]) {
        var facts = record.facts
        facts.wasThere = true
        return (facts, record.info.profiles)
    }

    private func fetch(_ request: BuilderRequest) throws(StationError) -> (BuilderFacts, [BuilderProfile]) {
        progress.tell(.resolving, 0, nil)
        let download = Download(source: request.source, stop: stop, progress: progress, firstWait: firstWait)
        let list = try BuilderList.fetch(
            request, download: download, keyDirectories: keyDirectories,
            makeFile: { () throws(StationError) in try UnsealedFile(in: vault.directory, isNamed: false) })
        if var record = directory.record(of: list.sha256), record.facts.triple == request.triple {
            // The same bytes, vouched for better than when they came.
            if !request.source.takes(record.facts.vouching) {
                record.facts.vouching = list.vouching
                try directory.keep(record)
            }
            return there(record)
        }
        let (part, path) = try directory.part(of: list.sha256)
        let room = BuilderRoom(directory: directory, byteLimit: request.byteLimit)
        let mirror = try download.file(
            "\(request.triple.serverPath)/\(list.archiveName)", sha256: list.sha256, into: part
        ) { byteCount throws(StationError) in try room.check(byteCount * (1 + Self.unpackedFactor)) }
        let archiveByteCount = (try? part.status().byteCount) ?? 0

        let (partial, lock) = try directory.makePartial()
        defer { withExtendedLifetime(lock) {} }
        var isSealed = false
        defer { if !isSealed { FileTree.remove(partial) } }
        let archive = BuilderArchive(
            source: try ImageSource(part, stop: stop), byteLimit: try room.left(), progress: progress)
        try archive.unpack(into: "\(partial)/tree")
        progress.tell(.examining, 0, nil)
        let info = try examine("\(partial)/tree")
        guard info.target == "\(request.triple.target)/\(request.triple.subtarget)" else {
            throw BuilderArchive.invalid(
                "it is for \(info.target.printable(limit: 80)), not for \(request.triple.target)/\(request.triple.subtarget)"
            )
        }
        let facts = BuilderFacts(
            triple: request.triple, archiveName: list.archiveName, archiveSHA256: list.sha256,
            archiveByteCount: archiveByteCount, byteCount: FileTree.byteCount(partial), vouching: list.vouching,
            mirror: mirror, info: info, wasThere: false, warnings: list.warnings)
        if let stop { try Self.checkStop(stop) }
        try directory.seal(partial, BuilderDirectory.Record(facts: facts, info: info))
        isSealed = true
        unlink(path)
        return (facts, info.profiles)
    }

    private func pause() throws(StationError) {
        // A negative number is one that poll(2) passes over.
        if !Descriptor.waitForInput(of: [stop?.number ?? -1], seconds: 0.2).isEmpty { throw Self.stopped }
    }

    private static func checkStop(_ stop: Descriptor) throws(StationError) {
        if stop.hasInput { throw stopped }
    }

    private static let stopped = StationError("import_stopped", "it was stopped")
}
