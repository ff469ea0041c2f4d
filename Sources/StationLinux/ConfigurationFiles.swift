import Glibc
package import StationCore

/// `station.conf` and its drop-ins, in three stages: fragments, merged, validated.
package enum ConfigurationFiles {
    /// Where they are when nobody says otherwise.
    package static let directory = "/etc/flashing-station"

    /// Reads `station.conf` and `station.conf.d/*.conf` of a directory, in the order of their names. A file that is not
    /// there says nothing.
    /// - Throws: `config_syntax`, `config_key_unknown`, `config_value`, `config_unreadable`.
    package static func load(_ directory: String = directory) throws(StationError) -> StationConfiguration {
        var paths = ["\(directory)/station.conf"]
        let names = SmallFile.names(in: "\(directory)/station.conf.d") ?? []
        paths += names.filter { $0.hasSuffix(".conf") }.map { "\(directory)/station.conf.d/\($0)" }
        var configuration = StationConfiguration()
        for path in paths {
            let bytes: [UInt8]
            do {
                bytes = try SmallFile.read(path, limit: KeyValueFile.byteLimit)
            } catch {
                if error.number == ENOENT { continue }
                throw error.asStationError("config_unreadable")
            }
            try configuration.apply(KeyValueFile(name: path, text: String(decoding: bytes, as: UTF8.self)))
        }
        return configuration
    }
}
