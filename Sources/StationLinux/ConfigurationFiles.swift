import Glibc
package import StationCore

/// `station.conf` and its drop-ins, in three stages: fragments, merged, validated.
///
/// They name what must never be written, so what anybody but root could have written is refused, and what cannot be read is an
/// error: never taken for something that says nothing.
package enum ConfigurationFiles {
    /// Where they are when nobody says otherwise.
    package static let directory = "/etc/flashing-station"

    /// Reads `station.conf` and `station.conf.d/*.conf` of a directory, in the order of their names. A file that is not
    /// there says nothing. Blocks.
    /// - Parameter ownerID: who must own files and directories; anything but root is for tests and practice stations.
    /// - Throws: `config_syntax`, `config_key_unknown`, `config_value`, `config_unreadable`, `config_untrusted`.
    package static func load(
        _ directory: String = directory, ownerID: UInt32 = 0
    ) throws(StationError) -> StationConfiguration {
        var paths = ["\(directory)/station.conf"]
        let dropIns = "\(directory)/station.conf.d"
        if try isThereAndTrusted(directory, ownerID), try isThereAndTrusted(dropIns, ownerID) {
            guard let names = SmallFile.names(in: dropIns) else {
                throw StationError(
                    "config_unreadable", "\(dropIns.printable()) cannot be read",
                    remedy: "chmod 755 \(dropIns.printable())")
            }
            paths += names.filter { $0.hasSuffix(".conf") }.map { "\(dropIns)/\($0)" }
        }
        var configuration = StationConfiguration()
        for path in paths {
            guard let text = try text(of: path, ownerID) else { continue }
            try configuration.apply(KeyValueFile(name: path, text: text))
        }
        return configuration
    }

    private static func isThereAndTrusted(_ directory: String, _ ownerID: UInt32) throws(StationError) -> Bool {
        let status: FileStatus
        do {
            status = try FileStatus(of: directory)
        } catch {
            if error.number == ENOENT { return false }
            throw error.asStationError("config_unreadable")
        }
        try TrustedFile.check(status, is: .directory, ownerID: ownerID, path: directory, code: "config_untrusted")
        return true
    }

    /// Nil when the file is not there.
    private static func text(of path: String, _ ownerID: UInt32) throws(StationError) -> String? {
        do {
            // Not blocking, for a pipe; and what is checked is the file that is read.
            let file = try Descriptor(opening: path, O_RDONLY | O_NONBLOCK)
            try TrustedFile.check(file.status(), is: .regular, ownerID: ownerID, path: path, code: "config_untrusted")
            let bytes = try SmallFile.read(file, path: path, limit: KeyValueFile.byteLimit)
            return String(decoding: bytes, as: UTF8.self)
        } catch let error as SystemError {
            if error.number == ENOENT { return nil }
            throw error.asStationError("config_unreadable", remedy: "chmod 644 \(path.printable())")
        } catch let error as StationError {
            throw error
        } catch { throw StationError("config_unreadable", "\(error)") }
    }
}
