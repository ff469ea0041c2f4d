import Glibc
import StationCore
import StationLinux

/// The room that one import has: what it was given beside the images that are there, and what the file system has.
struct VaultRoom {
    let directory: String
    /// What `StorageLimit=` leaves for images; no image may be longer than that either, however many holes it has.
    let limit: UInt64
    /// What the images take that are there.
    private let usedByteCount: UInt64
    /// What the import took so far.
    private(set) var takenByteCount: UInt64 = 0

    init(directory: String, limit: UInt64, imagePaths: [String]) {
        self.directory = directory
        self.limit = limit
        usedByteCount = imagePaths.reduce(0) { sum, path in
            sum + ((try? FileStatus(of: path))?.allocatedByteCount ?? 0)
        }
    }

    /// Asks before anything is written, where a length is known.
    /// - Throws: `image_too_large`, `storage_full`.
    func check(_ byteCount: UInt64) throws(StationError) {
        try checkLength(byteCount, isWhole: true)
        // Where the file system does not say, writing will.
        guard let free = (try? FileSystemRoom(of: directory))?.freeByteCount, free < byteCount else { return }
        throw full("the image needs \(Self.exactly(byteCount)), and \(name) has \(Self.exactly(free)) free")
    }

    /// - Parameter isWhole: the image is not longer.
    /// - Throws: `image_too_large`.
    func checkLength(_ byteCount: UInt64, isWhole: Bool) throws(StationError) {
        guard byteCount > limit else { return }
        throw StationError(
            "image_too_large",
            "the image \(isWhole ? "has \(Self.exactly(byteCount))" : "is longer"), \(Self.exactly(limit)) is the limit",
            remedy: "raise StorageLimit= in station.conf, if it is an image for a card")
    }

    /// Asks for room that is written next.
    /// - Throws: `storage_full`.
    mutating func take(_ byteCount: UInt64) throws(StationError) {
        takenByteCount += byteCount
        guard usedByteCount + takenByteCount > limit, usedByteCount > 0 else { return }
        throw full(
            "StorageLimit= leaves \(Self.exactly(limit)) for images: those that are there take \(Self.exactly(usedByteCount)), and "
                + "this one needs more than the rest")
    }

    /// What a failure to write means.
    /// - Parameters:
    ///   - written: how much of the image was there.
    ///   - total: how long it is, where that is known.
    func failure(_ error: SystemError, written: UInt64, total: UInt64?) -> StationError {
        guard [ENOSPC, EDQUOT, EFBIG].contains(error.number) else { return ImageVault.unusable(directory, error) }
        let needed = total.map { "of \(Self.exactly($0)) " } ?? ""
        return full("\(name) was full after \(Self.exactly(written)) \(needed)of the image")
    }

    private var name: String { directory.printable() }

    private func full(_ message: String) -> StationError {
        StationError(
            "storage_full", message, remedy: "remove images that are not needed: stationctl image list")
    }

    /// `1.21 GB (1207959552 bytes)`.
    static func exactly(_ byteCount: UInt64) -> String { "\(Quantity.bytes(byteCount)) (\(byteCount) bytes)" }
}
