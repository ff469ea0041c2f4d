import FoundationEssentials
import Glibc
import StationCore
import StationLinux

/// One run of the Image Builder, from the profile to artifacts and the card's image.
struct Build {
    let request: BuildRequest
    let builders: BuilderDirectory
    let builds: BuildDirectory
    let vault: ImageVault
    /// The build ends as soon as there is something to read from it, or its other end is gone.
    let stop: Descriptor
    let progress: BuildProgressTeller
    let log: (String) -> Void

    private static let filesInside = "/files"
    private static let outputInside = "/out"

    /// Blocks, and leaves either all of it or only a log.
    /// - Throws: `builder_missing`, `builder_profile_unknown`, `value_unsafe`, `overlay_…`, the codes of `BuildFailure`,
    ///   `build_timeout`, `build_disk_full`, `artifact_…`, `storage_full`, `sandbox_…`, `import_stopped`.
    func run() throws(StationError) -> BuildProduct {
        builds.sweep()
        try MakeSandbox.check()
        guard let hold = builders.hold(request.builder), let record = builders.record(of: request.builder) else {
            throw StationError(
                "builder_missing", "the Image Builder \(request.triple) is not in the library",
                remedy: "stationctl builder ensure \(request.triple.release) \(request.triple.target) "
                    + "\(request.triple.subtarget)")
        }
        defer { withExtendedLifetime(hold) {} }
        try check(record.info)
        let (partial, lock) = try builds.makePartial(of: request.id)
        defer { withExtendedLifetime(lock) {} }
        let log = try BuildLog(path: "\(partial)/\(BuildDirectory.log)", send: log)
        do throws(StationError) {
            let product = try run(in: partial, log, record.info)
            log.finish()
            return product
        } catch {
            log.say("station: \(error.code): \(error.message)")
            log.finish()
            keepLog(of: partial)
            throw error
        }
    }

    /// Before anything runs: whether that Image Builder knows the device at all.
    private func check(_ info: BuilderInfo) throws(StationError) {
        let name = request.profile.imageBuilderProfile
        guard info.target == "\(request.triple.target)/\(request.triple.subtarget)" else {
            throw StationError(
                "builder_target_wrong", "the Image Builder is for \(info.target), the profile for \(request.triple)")
        }
        guard !info.profiles.contains(where: { $0.name == name }) else { return }
        throw StationError(
            "builder_profile_unknown",
            "the Image Builder \(request.triple) has no profile “\(name.printable(limit: 80))”",
            remedy: name.nearest(in: info.profiles.map(\.name)).map { "did you mean \($0)?" }
                ?? "stationctl builder info \(request.triple.release) \(request.triple.target) \(request.triple.subtarget)"
        )
    }

    private func run(in partial: String, _ log: BuildLog, _ info: BuilderInfo) throws(StationError) -> BuildProduct {
        progress.tell(.preparing, 0, nil)
        let (scratch, files, output) = (
            "\(partial)/scratch", "\(partial)/files", "\(partial)/\(BuildDirectory.artifacts)"
        )
        for directory in [scratch, files, output] {
            guard mkdir(directory, 0o750) == 0 else {
                throw ImageVault.unusable(directory, SystemError("mkdir", directory))
            }
        }
        try BuildFiles.layOut(request, vault: vault, into: files)
        let arguments = try MakeArguments.image(
            of: request.profile, extraPackages: request.extraPackages, files: Self.filesInside,
            binDirectory: Self.outputInside)
        log.say("station: make " + arguments.map { $0.contains(" ") ? "'\($0)'" : $0 }.joined(separator: " "))
        let key = LocalKey(builds)
        let usesKey = request.profile.addLocalKey == true
        let keyBinds = usesKey ? key.binds : []
        let sandbox = MakeSandbox(
            tree: builders.tree(of: request.builder), scratch: scratch, limits: request.limits,
            binds: [
                .init(host: files, inside: Self.filesInside, isWritable: false),
                .init(host: output, inside: Self.outputInside, isWritable: true),
            ] + keyBinds, stop: stop)
        progress.tell(.building, 0, nil)
        let end = try sandbox.run(arguments) { bytes in
            log.take(bytes)
            progress.tell(.building, log.lineCount, nil)
        }
        try judge(end, log, info)
        if usesKey { key.keep(from: sandbox.writtenTree) }
        let fingerprint = usesKey ? key.fingerprint(usedWith: keyBinds, madeIn: sandbox.writtenTree) : nil

        var artifacts = try BuildArtifacts(in: output, byteLimit: request.limits.diskByteCount, checkStop: checkStop) {
            progress.tell(.collecting, $0, nil)
        }
        let (card, refusal) = try cardImage(artifacts, output)
        try checkStop()
        // What cannot be published is not kept either; it is copied before anything has its name, and seen when all has.
        let export = try request.exportDirectory.map { directory throws(StationError) in
            try BuildExport(of: artifacts, in: output, to: directory, as: request.id)
        }
        do throws(StationError) {
            try finish(partial, sandbox, files, output, artifacts)
            try artifacts.renewWitnesses(in: "\(builds.directory(of: request.id))/\(BuildDirectory.artifacts)")
            try export?.publish()
        } catch {
            export?.abandon()
            throw error
        }
        return BuildProduct(
            artifacts: artifacts.files, versionCode: artifacts.overview.versionCode,
            packageCount: artifacts.packageCount, card: card, cardRefusal: refusal,
            byteCount: FileTree.byteCount(builds.directory(of: request.id)), localKey: fingerprint)
    }

    private func judge(_ end: MakeSandbox.End, _ log: BuildLog, _ info: BuilderInfo) throws(StationError) {
        switch end {
        case .exited(.code(0)): return
        case .stopped: throw StationError("import_stopped", "the build was cancelled")
        case .timedOut:
            throw StationError(
                "build_timeout", "the build took longer than \(Int(request.limits.seconds)) s",
                remedy: "raise TimeoutSec= under [Build], if it does so for a reason")
        case .wroteTooMuch(let byteCount):
            guard let byteCount else {
                throw StationError(
                    "build_disk_full",
                    "the build made directories that cannot be looked into, or too deep, and what it writes cannot be counted",
                    remedy: "see what the profile's files and scripts do")
            }
            throw StationError(
                "build_disk_full",
                "the build wrote \(Quantity.bytes(byteCount)), and may write \(Quantity.bytes(request.limits.diskByteCount))",
                remedy: "raise DiskLimit= under [Build], if it does so for a reason")
        case .exited:
            if let failure = SandboxFailure.explain(log.end) { throw failure }
            let packages = info.defaultPackages + info.profiles.flatMap(\.packages)
            throw BuildFailure.explain(log: log.end, isOnline: request.limits.isOnline, packages: packages)
        }
    }

    /// The artifact that goes onto a card, unpacked and sealed, or why there is none.
    private func cardImage(
        _ artifacts: BuildArtifacts, _ output: String
    ) throws(StationError) -> (CardImage?, StationError?) {
        let name = request.profile.imageBuilderProfile
        let image: ImagesOverview.Image
        do {
            image = try CardImageChoice.choose(
                from: artifacts.overview.images[name] ?? [], device: name,
                filesystem: request.profile.policies.filesystem)
        } catch { return (nil, error) }
        let file: Descriptor
        do {
            file = try Descriptor(opening: "\(output)/\(image.name)", O_RDONLY | O_NOFOLLOW)
        } catch { throw ImageVault.unusable(output, error) }
        let sealed: ImageVault.SealedImage
        do {
            sealed = try vault.importImage(
                from: file, ImportConditions(byteLimit: request.byteLimit, fileName: image.name), keyDirectories: [],
                stop: stop)
        } catch {
            guard error.code == "image_no_table" else { throw error }
            return (
                nil,
                StationError(
                    "no_card_image", "\(image.name) is no disk: it begins with neither MBR nor GPT",
                    remedy: "flash that device as its page at openwrt.org says")
            )
        }
        do {
            let witness = try FileWitness(of: vault.path(of: sealed.sha256))
            let card = CardImage(
                artifact: image.name, sha256: sealed.sha256, byteCount: sealed.byteCount, witness: witness)
            return (card, nil)
        } catch { throw ImageVault.unusable(vault.directory, error) }
    }

    private func finish(
        _ partial: String, _ sandbox: MakeSandbox, _ files: String, _ output: String, _ artifacts: BuildArtifacts
    ) throws(StationError) {
        FileTree.remove(files)
        if request.keepsDirectory {
            _ = rename(sandbox.writtenTree, "\(partial)/work")
        }
        FileTree.remove(sandbox.scratch)
        for path in artifacts.files.map({ "\(output)/\($0.name)" }) { seal(path, 0o440) }
        seal("\(partial)/\(BuildDirectory.log)", 0o440)
        seal(output, 0o750)
        seal(partial, 0o750)
        try builds.seal(partial, as: request.id)
    }

    /// Read by stationd through the library's group, changed by nobody.
    private func seal(_ path: String, _ mode: mode_t) {
        var status = stat()
        if lstat(path, &status) == 0, status.st_gid != builds.groupID { _ = chown(path, uid_t.max, builds.groupID) }
        chmod(path, mode)
    }

    /// Of a build that failed only the log stays.
    private func keepLog(of partial: String) {
        for name in ["scratch", "files", BuildDirectory.artifacts] { FileTree.remove("\(partial)/\(name)") }
        seal("\(partial)/\(BuildDirectory.log)", 0o440)
        seal(partial, 0o750)
        try? builds.seal(partial, as: request.id)
    }

    private func checkStop() throws(StationError) {
        if stop.hasInput { throw StationError("import_stopped", "the build was cancelled") }
    }
}
