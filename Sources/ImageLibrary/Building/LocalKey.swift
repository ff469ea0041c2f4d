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

    /// The files that are there, each at its place in a builder's tree.
    var binds: [MakeSandbox.Bind] {
        Self.sets.flatMap { $0 }.compactMap { path in
            let file = "\(directory)/\(path)"
            guard access(file, R_OK) == 0 else { return nil }
            return MakeSandbox.Bind(host: file, inside: "\(MakeSandbox.builder)/\(path)", isWritable: false)
        }
    }

    /// Of the public halves; nil while there is none.
    var fingerprint: SHA256Digest? {
        let hasher = SHA256Hasher()
        var isThere = false
        for path in Self.publicHalves {
            guard let bytes = try? SmallFile.read("\(directory)/\(path)") else { continue }
            isThere = true
            bytes.withUnsafeBytes { hasher.update($0) }
        }
        return isThere ? hasher.finish() : nil
    }

    /// Keeps what a build made of keys that are not there yet. Two first builds at once: one of them is kept.
    /// - Parameter upper: what the build wrote over the builder's tree.
    func keep(from upper: String) {
        for set in Self.sets where set.allSatisfy({ access("\(upper)/\($0)", R_OK) == 0 }) {
            guard !set.contains(where: { access("\(directory)/\($0)", F_OK) == 0 }) else { continue }
            mkdir(directory, 0o700)
            mkdir("\(directory)/keys", 0o700)
            for path in set {
                guard let bytes = try? SmallFile.read("\(upper)/\(path)") else { return }
                try? SmallFile.replace(
                    "\(directory)/\(path)", with: String(decoding: bytes, as: UTF8.self), mode: 0o600)
            }
        }
    }
}
