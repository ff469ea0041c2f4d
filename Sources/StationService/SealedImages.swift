import Glibc
package import StationCore
package import StationLinux

/// The images that station-library sealed, as stationd sees them: files to be opened for reading, and nothing else.
package struct SealedImages: Sendable {
    /// Where they are when nobody says otherwise.
    package static let directory = "/var/lib/flashing-station/images"

    private let directory: String

    package init(directory: String = directory) { self.directory = directory }

    /// Opens an image for reading.
    /// - Throws: `image_missing` when it is not there or is not what was sealed.
    package func open(_ sha256: SHA256Digest, byteCount: UInt64) throws(StationError) -> Descriptor {
        let path = "\(directory)/\(sha256).img"
        do {
            let file = try Descriptor(opening: path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            let status = try file.status()
            guard status.kind == .regular, status.byteCount == byteCount else {
                throw StationError(
                    "image_missing", "\(path) has \(status.byteCount) bytes, \(byteCount) were sealed",
                    remedy: Reason.imageMissing.remedy)
            }
            return file
        } catch let error as StationError {
            throw error
        } catch {
            throw StationError("image_missing", "\(error)", remedy: Reason.imageMissing.remedy)
        }
    }

    /// All that are there, in no order.
    /// - Throws: `vault_unusable` when that cannot be said.
    package func all() throws(StationError) -> [SHA256Digest] {
        guard let names = SmallFile.names(in: directory) else {
            throw StationError(
                "vault_unusable", "\(directory.printable()) cannot be read",
                remedy: "systemd-tmpfiles --create")
        }
        return names.compactMap { $0.hasSuffix(".img") ? SHA256Digest(String($0.dropLast(4))) : nil }
    }

    /// Whether it could be opened.
    package func contains(_ sha256: SHA256Digest, byteCount: UInt64) -> Bool {
        (try? open(sha256, byteCount: byteCount)) != nil
    }
}
