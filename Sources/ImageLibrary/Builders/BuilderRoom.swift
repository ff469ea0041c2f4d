import StationCore
import StationLinux

/// The room that a builder has: what `StorageLimit=` leaves beside the builders that are there, and what the file system has.
struct BuilderRoom {
    let directory: BuilderDirectory
    let byteLimit: UInt64

    /// What may still be taken, in bytes.
    /// - Throws: `storage_full` where nothing may.
    func left() throws(StationError) -> UInt64 {
        let used = directory.archives().reduce(0) { $0 + (directory.record(of: $1)?.facts.byteCount ?? 0) }
        let free = (try? FileSystemRoom(of: directory.path))?.freeByteCount ?? .max
        guard used < byteLimit else { throw full("the Image Builders that are here take \(Quantity.bytes(used))", 0) }
        return min(byteLimit - used, free)
    }

    /// Asks before anything is written.
    /// - Throws: `storage_full`.
    func check(_ byteCount: UInt64) throws(StationError) {
        let left = try left()
        guard byteCount > left else { return }
        throw full("it needs about \(Quantity.bytes(byteCount)) to be fetched and unpacked", left)
    }

    private func full(_ what: String, _ left: UInt64) -> StationError {
        StationError(
            "storage_full",
            "\(what), and \(Quantity.bytes(left)) are left (StorageLimit= leaves \(Quantity.bytes(byteLimit)) for Image Builders)",
            remedy: "stationctl builder prune, or raise StorageLimit=")
    }
}
