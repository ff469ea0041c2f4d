import Glibc
package import StationCore
import StationLinux

/// The keys that the station trusts, from directories that only root may write.
package struct TrustedKeys: Sendable {
    /// What comes with the station, and what root adds.
    package static let directories = ["/usr/share/flashing-station/keys", "/etc/flashing-station/keys"]

    /// `*.pub`.
    package private(set) var usign: [UsignKey] = []
    /// `*.gpg` and `*.asc`, one behind the other, in binary form.
    package private(set) var openPGP: [UInt8] = []

    /// Reads the directories. One that is not there has no keys. Blocks.
    /// - Parameter ownerID: who must own directories and files; anything but root is for tests.
    /// - Throws: `key_file_untrusted`, `key_file_invalid`.
    package init(_ directories: [String] = directories, ownerID: UInt32 = 0) throws(StationError) {
        for directory in directories {
            guard let status = try? FileStatus(of: directory) else { continue }
            try Self.check(status, directory, ownerID)
            for name in (SmallFile.names(in: directory) ?? []).sorted() {
                let path = "\(directory)/\(name)"
                if name.hasSuffix(".pub") {
                    do {
                        usign.append(try UsignKey(try Self.read(path, ownerID)))
                    } catch { throw error.code == "key_file_invalid" ? Self.invalid(path) : error }
                } else if name.hasSuffix(".asc") || name.hasSuffix(".gpg") {
                    guard let bytes = OpenPGPArmour.bytes(of: try Self.read(path, ownerID)), !bytes.isEmpty else {
                        throw Self.invalid(path)
                    }
                    openPGP += bytes
                }
            }
        }
    }

    private static func read(_ path: String, _ ownerID: UInt32) throws(StationError) -> [UInt8] {
        do {
            let file = try Descriptor(opening: path, O_RDONLY | O_NONBLOCK)
            try check(try file.status(), path, ownerID)
            return try SmallFile.read(file, path: path, limit: 1 << 20)
        } catch let error as StationError {
            throw error
        } catch { throw StationError("key_file_invalid", "\(error)") }
    }

    private static func check(_ status: FileStatus, _ path: String, _ ownerID: UInt32) throws(StationError) {
        guard status.ownerID == ownerID, status.mode & 0o022 == 0 else {
            throw StationError(
                "key_file_untrusted", "\(path.printable()) may be written by others than root",
                remedy: "sudo chown root: \(path.printable()); sudo chmod go-w \(path.printable())")
        }
    }

    private static func invalid(_ path: String) -> StationError {
        StationError(
            "key_file_invalid", "\(path.printable()) is no public key",
            remedy: "usign's and signify's keys are *.pub, OpenPGP's *.asc or *.gpg; take the file away, or mend it")
    }
}
