package import StationCore

/// `station.conf` and its drop-ins, in three stages: fragments, merged, validated.
///
/// They name what must never be written, so they are read as slot files are.
package enum ConfigurationFiles {
    /// Where they are when nobody says otherwise.
    package static let directory = "/etc/flashing-station"

    /// Reads `station.conf` and `station.conf.d/*.conf` of a directory, in the order of their names. A file that is not
    /// there says nothing. Blocks.
    /// - Parameter ownerID: who must own files and directories; see `TrustedFiles`.
    /// - Throws: `config_syntax`, `config_key_unknown`, `config_value`, `config_unreadable`, `config_untrusted`.
    package static func load(
        _ directory: String = directory, ownerID: UInt32? = 0
    ) throws(StationError) -> StationConfiguration {
        // Links are followed: what manages a host's configuration makes them, and what they lead to is checked.
        let files = TrustedFiles(
            ownerID: ownerID, untrustedCode: "config_untrusted", unreadableCode: "config_unreadable",
            followsLinks: true)
        var paths = ["\(directory)/station.conf"]
        let dropIns = "\(directory)/station.conf.d"
        if try files.hasDirectory(directory), try files.hasDirectory(dropIns) {
            paths += try files.names(in: dropIns).filter { $0.hasSuffix(".conf") }.map { "\(dropIns)/\($0)" }
        }
        var configuration = StationConfiguration()
        for path in paths {
            guard let text = try files.text(of: path, limit: KeyValueFile.byteLimit) else { continue }
            try configuration.apply(KeyValueFile(name: path, text: text))
        }
        return configuration
    }
}
