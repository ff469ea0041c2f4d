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

    /// Reads all files. Blocks.
    /// - Throws: `artifact_missing`, `artifact_mismatch`, `artifact_invalid`, `overview_invalid`, `sums_invalid`.
    init(in directory: String, progress: (UInt64) -> Void) throws(StationError) {
        let names = SmallFile.names(in: directory) ?? []
        guard let bytes = try? SmallFile.read("\(directory)/profiles.json", limit: ImagesOverview.byteLimit),
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
        if let text = try? SmallFile.read("\(directory)/sha256sums", limit: ChecksumList.byteLimit) {
            sums = try ChecksumList(text).digests
        }
        var done: UInt64 = 0
        for name in names {
            let artifact = try Self.artifact(name, in: directory, listed[name], sums[name])
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
        _ name: String, in directory: String, _ image: ImagesOverview.Image?, _ sum: SHA256Digest?
    ) throws(StationError) -> Artifact {
        let path = "\(directory)/\(name)"
        guard ImagesOverview.isFileName(name),
            (try? FileStatus(of: path, followingLinks: false))?.kind == .regular
        else {
            throw StationError(
                "artifact_invalid", "the build made “\(name.printable(limit: 80))”, which is no file of an image",
                remedy: "see stationctl builds log BUILD")
        }
        let digest = try FileDigest.sha256(path)
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
        guard let bytes = try? SmallFile.read(path, limit: 4 << 20) else { return 0 }
        return bytes.split(separator: 0x0A).count
    }
}

/// A file read whole.
enum FileDigest {
    /// Blocks.
    /// - Throws: `vault_unusable`.
    static func sha256(_ path: String) throws(StationError) -> (
        sha256: SHA256Digest, byteCount: UInt64, witness: FileWitness
    ) {
        do {
            let file = try Descriptor(opening: path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            let witness = try FileWitness(of: path)
            let hasher = SHA256Hasher()
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
            defer { buffer.deallocate() }
            var offset: UInt64 = 0
            while true {
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
