import Digests
import FoundationEssentials
import Glibc
import StationCore
import StationLinux

/// What an Image Builder made in its fresh directory: listed, hashed, and held against what it says of itself.
struct BuildArtifacts {
    private(set) var files: [Artifact] = []
    let overview: ImagesOverview
    private(set) var packageCount = 0

    /// So many files are told of in one message; a device has about thirty.
    private static let countLimit = 256
    /// What is there may be anything: a link is not followed, and a pipe not waited for.
    private static let cautiously = O_NOFOLLOW | O_NONBLOCK

    /// Reads all files. Blocks.
    /// - Parameters:
    ///   - byteLimit: what they may come to, holes counted.
    ///   - checkStop: throws when nobody waits for it any more.
    /// - Throws: `artifact_missing`, `artifact_mismatch`, `artifact_invalid`, `overview_invalid`, `sums_invalid`, `build_disk_full`,
    ///   and what `checkStop` throws.
    init(
        in directory: String, byteLimit: UInt64, checkStop: () throws(StationError) -> Void, progress: (UInt64) -> Void
    ) throws(StationError) {
        let names = SmallFile.names(in: directory) ?? []
        guard names.count <= Self.countLimit else {
            throw StationError(
                "artifact_invalid", "the build made \(names.count) files, and at most \(Self.countLimit) are taken",
                remedy: "see stationctl builds log BUILD")
        }
        guard
            let bytes = try? SmallFile.read(
                "\(directory)/profiles.json", limit: ImagesOverview.byteLimit, flags: Self.cautiously),
            let document = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes))
        else {
            throw StationError(
                "overview_invalid", "the build left no profiles.json that can be read",
                remedy: "releases before 19.07 have none; see stationctl builds log BUILD")
        }
        overview = try ImagesOverview(document)
        let listed = Dictionary(
            overview.images.values.flatMap { $0 }.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var sums: [String: SHA256Digest] = [:]
        if let text = try? SmallFile.read(
            "\(directory)/sha256sums", limit: ChecksumList.byteLimit, flags: Self.cautiously)
        {
            sums = try ChecksumList(text).digests
        }
        var done: UInt64 = 0
        for name in names {
            let said = (try? FileStatus(of: "\(directory)/\(name)", followingLinks: false))?.byteCount ?? 0
            guard done + said <= byteLimit else {
                throw StationError(
                    "build_disk_full",
                    "what the build made comes to more than the \(Quantity.bytes(byteLimit)) that it may write",
                    remedy: "raise DiskLimit= under [Build], if it does so for a reason")
            }
            let artifact = try Self.artifact(name, in: directory, listed[name], sums[name], checkStop)
            if artifact.type == "manifest" { packageCount = Self.lineCount("\(directory)/\(name)") }
            files.append(artifact)
            done += artifact.byteCount
            progress(done)
        }
        for name in listed.keys.sorted() where !names.contains(name) {
            throw StationError("artifact_missing", "profiles.json lists \(name), and the build did not make it")
        }
    }

    private static func artifact(
        _ name: String, in directory: String, _ image: ImagesOverview.Image?, _ sum: SHA256Digest?,
        _ checkStop: () throws(StationError) -> Void
    ) throws(StationError) -> Artifact {
        let path = "\(directory)/\(name)"
        guard ImagesOverview.isFileName(name),
            (try? FileStatus(of: path, followingLinks: false))?.kind == .regular
        else {
            throw StationError(
                "artifact_invalid", "the build made “\(name.printable(limit: 80))”, which is no file of an image",
                remedy: "see stationctl builds log BUILD")
        }
        let digest = try FileDigest.sha256(path, beforeEach: checkStop)
        for expected in [image?.sha256, sum].compactMap({ $0 }) where expected != digest.sha256 {
            throw StationError(
                "artifact_mismatch",
                "\(name) has the SHA-256 \(digest.sha256), and the build itself says \(expected)",
                remedy: "build it again; check the station's disk if it stays so")
        }
        let type = image?.type ?? (name.hasSuffix(".manifest") ? "manifest" : "other")
        return Artifact(
            name: name, type: type, filesystem: image?.filesystem, byteCount: digest.byteCount, sha256: digest.sha256,
            witness: digest.witness)
    }

    /// Takes the files as they look after they were sealed.
    mutating func renewWitnesses(in directory: String) throws(StationError) {
        for index in files.indices {
            do {
                files[index].witness = try FileWitness(of: "\(directory)/\(files[index].name)")
            } catch { throw ImageVault.unusable(directory, error) }
        }
    }

    private static func lineCount(_ path: String) -> Int {
        guard let bytes = try? SmallFile.read(path, limit: 4 << 20, flags: cautiously) else { return 0 }
        return bytes.split(separator: 0x0A).count
    }
}

/// A file read whole.
enum FileDigest {
    /// Blocks.
    /// - Parameter beforeEach: is called for each MiB, and ends it by what it throws.
    /// - Throws: `vault_unusable`.
    static func sha256(
        _ path: String, beforeEach: () throws(StationError) -> Void
    ) throws(StationError) -> (sha256: SHA256Digest, byteCount: UInt64, witness: FileWitness) {
        do {
            let file = try Descriptor(opening: path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            let witness = try FileWitness(of: path)
            let hasher = SHA256Hasher()
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
            defer { buffer.deallocate() }
            var offset: UInt64 = 0
            while true {
                try beforeEach()
                let count = try file.read(into: buffer, at: offset)
                if count == 0 { break }
                hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                offset += UInt64(count)
            }
            guard let digest = hasher.finish() else { throw noDigest }
            return (digest, offset, witness)
        } catch let error as StationError {
            throw error
        } catch let error as SystemError {
            throw ImageVault.unusable(path, error)
        } catch { throw StationError("internal_error", "\(error)") }
    }
}
