import Digests
import StationCore

/// Compares an image with its bmap while it goes by.
struct BmapCheck {
    private let bmap: Bmap
    /// The next range, or the one that is under way.
    private var index = 0
    private var digest: MessageDigest
    private var position: UInt64 = 0

    init(_ bmap: Bmap) {
        self.bmap = bmap
        digest = MessageDigest(bmap.algorithm)
    }

    /// - Parameter bytes: those that follow the last ones.
    /// - Throws: `bmap_mismatch`.
    mutating func update(_ bytes: UnsafeRawBufferPointer) throws(StationError) {
        let end = position + UInt64(bytes.count)
        while index < bmap.ranges.count {
            let range = bmap.ranges[index]
            let from = max(range.bytes.lowerBound, position)
            let to = min(range.bytes.upperBound, end)
            if from < to {
                digest.update(UnsafeRawBufferPointer(rebasing: bytes[Int(from - position)..<Int(to - position)]))
            }
            guard range.bytes.upperBound <= end else { break }
            guard let found = digest.finish(), Bmap.hexadecimal(found) == range.checksum else {
                throw Self.mismatch(
                    "bytes \(range.bytes.lowerBound) to \(range.bytes.upperBound - 1) do not have the checksum that it has "
                        + "for them")
            }
            digest = MessageDigest(bmap.algorithm)
            index += 1
        }
        position = end
    }

    /// - Throws: `bmap_mismatch` when the image has another length.
    func finish() throws(StationError) {
        guard position == bmap.imageByteCount else {
            throw Self.mismatch("it is for an image of \(bmap.imageByteCount) bytes, and this one has \(position)")
        }
    }

    private static func mismatch(_ why: String) -> StationError {
        StationError(
            "bmap_mismatch", "the image is not the one of the bmap file: \(why)",
            remedy: "fetch both again; or import with --no-bmap, if the bmap file belongs to another image")
    }
}
