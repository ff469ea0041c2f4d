import Digests
import Glibc
import StationCore
import StationLinux

/// The station's own key for packages: the one that the first build which asks for it makes, kept for all that come after.
///
/// A build without `add_local_key` makes a key of its own, which ends with it.
struct LocalKey {
    /// What upstream's Image Builders make on their first run: of opkg's time, and of apk's.
    private static let sets = [
        ["key-build", "key-build.pub", "key-build.ucert"], ["keys/local-private-key.pem", "keys/local-public-key.pem"],
    ]
    private static let publicHalves = ["key-build.pub", "keys/local-public-key.pem"]

    let directory: String

    init(_ builds: BuildDirectory) { directory = "\(builds.path)/.local-key" }

    /// The files of what is kept, each at its place in a builder's tree.
    var binds: [MakeSandbox.Bind] {
        Self.sets.filter(isKept).flatMap { $0 }.map { path in
            MakeSandbox.Bind(
                host: "\(directory)/\(path)", inside: "\(MakeSandbox.builder)/\(path)", isWritable: false)
        }
    }

    /// Of the public halves that are kept; nil while there is none.
    var fingerprint: SHA256Digest? { fingerprint(usedWith: binds, madeIn: nil) }

    /// Of the public halves that a build used: those that it was given, and those that it made; nil where there is none.
    /// - Parameter tree: what the build wrote in the builder's tree.
    func fingerprint(usedWith binds: [MakeSandbox.Bind], madeIn tree: String?) -> SHA256Digest? {
        let given = Set(binds.map(\.host))
        let made = tree.flatMap { try? Descriptor(opening: $0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) }
        let hasher = SHA256Hasher()
        var isThere = false
        for path in Self.publicHalves {
            let kept = "\(directory)/\(path)"
            let found =
                given.contains(kept) ? try? SmallFile.read(kept) : made.flatMap { Self.bytes(of: path, beneath: $0) }
            guard let found else { continue }
            isThere = true
            found.withUnsafeBytes { hasher.update($0) }
        }
        return isThere ? hasher.finish() : nil
    }

    /// Keeps what a build made of keys that are not there yet. Of two first builds at once one is kept. Blocks.
    /// - Parameter tree: what the build wrote in the builder's tree, where a hostile one may have left anything.
    func keep(from tree: String) {
        guard let made = try? Descriptor(opening: tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { return }
        for set in Self.sets {
            let files = set.compactMap { Self.bytes(of: $0, beneath: made) }
            guard files.count == set.count else { continue }
            mkdir(directory, 0o700)
            mkdir("\(directory)/keys", 0o700)
            guard let lock = try? Descriptor(opening: directory, O_RDONLY | O_DIRECTORY),
                flock(lock.number, LOCK_EX) == 0, !isKept(set)
            else { continue }
            // Half a set, where the disk is full or the power fails, is none: the next build makes another in its place.
            for path in set { unlink("\(directory)/\(path)") }
            for (path, bytes) in zip(set, files) {
                guard (try? SmallFile.replace("\(directory)/\(path)", with: bytes, mode: 0o600)) != nil else { break }
            }
        }
    }

    private func isKept(_ set: [String]) -> Bool { set.allSatisfy { access("\(directory)/\($0)", R_OK) == 0 } }

    /// Nil of what is no file, is too long, or leads elsewhere.
    private static func bytes(of path: String, beneath tree: Descriptor) -> [UInt8]? {
        guard let file = try? Descriptor(beneath: tree, path, O_RDONLY | O_NONBLOCK | O_NOCTTY),
            (try? file.status())?.kind == .regular
        else { return nil }
        return try? SmallFile.read(file, path: path, limit: 64 * 1024)
    }
}
