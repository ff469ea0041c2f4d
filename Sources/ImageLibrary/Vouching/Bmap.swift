import Digests
import StationCore

/// A bmap file: which blocks of an image hold data, and their checksums. Version 1.3, 1.4 or 2.0.
///
/// The station takes it for its checksums only. Blocks that are not mapped are written as the image file has them.
struct Bmap: Equatable {
    /// Blocks that follow each other, and what they must be.
    struct Range: Equatable {
        /// In bytes; the end is not behind the image's.
        var bytes: Swift.Range<UInt64>
        /// Lower-case hexadecimal digits.
        var checksum: String
    }

    /// The longest file that is read, in bytes.
    static let byteLimit = 16 << 20

    var imageByteCount: UInt64
    var algorithm: MessageDigest.Algorithm
    /// In their order.
    var ranges: [Range]

    /// - Throws: `bmap_invalid`, `bmap_damaged`, `bmap_unsupported`.
    init(_ file: [UInt8]) throws(StationError) {
        let document = try BmapDocument(file)
        let version = document.version.split(separator: ".").compactMap { Int($0) }
        guard version.count == 2, version[0] == 2 || version[0] == 1 && version[1] >= 3 else {
            throw StationError(
                "bmap_unsupported",
                "the bmap file has version “\(document.version.printable(limit: 20))”: 1.3, 1.4 and 2.0 have checksums",
                remedy: "make it anew with a newer bmaptool, or import with --no-bmap")
        }
        let isOld = version == [1, 3]
        let name = isOld ? "sha1" : try document.text("ChecksumType").lowercased()
        guard let algorithm = MessageDigest.Algorithm(rawValue: name) else {
            throw StationError(
                "bmap_unsupported", "the bmap file has checksums of “\(name.printable(limit: 20))”",
                remedy: "sha256 and sha1 are known; or import with --no-bmap")
        }
        self.algorithm = algorithm
        try Self.checkItself(file, try document.text(isOld ? "BmapFileSHA1" : "BmapFileChecksum"), algorithm)
        imageByteCount = try document.number("ImageSize")
        let blockByteCount = try document.number("BlockSize")
        guard (512...(1 << 24)).contains(blockByteCount), imageByteCount > 0, imageByteCount < 1 << 50,
            try document.number("BlocksCount") == (imageByteCount + blockByteCount - 1) / blockByteCount
        else { throw Self.invalid("its sizes do not fit together") }
        let blockCount = (imageByteCount + blockByteCount - 1) / blockByteCount
        ranges = []
        for range in document.ranges {
            let blocks = range.text.trimmed.split(separator: "-", omittingEmptySubsequences: false)
                .map { UInt64(String($0).trimmed) }
            guard blocks.count <= 2, let first = blocks[0], let last = blocks[blocks.count - 1], first <= last,
                last < blockCount, first * blockByteCount >= ranges.last?.bytes.upperBound ?? 0
            else {
                throw Self.invalid("“\(range.text.printable(limit: 40))” is no range of blocks behind the last one")
            }
            guard let checksum = isOld ? range.sha1 : range.checksum else {
                throw Self.invalid("the range “\(range.text.printable(limit: 40))” has no checksum")
            }
            let end = min((last + 1) * blockByteCount, imageByteCount)
            ranges.append(Range(bytes: first * blockByteCount..<end, checksum: checksum.lowercased()))
        }
        let mapped = ranges.reduce(0) {
            $0 + ($1.bytes.upperBound - $1.bytes.lowerBound + blockByteCount - 1) / blockByteCount
        }
        guard mapped == (try document.number("MappedBlocksCount")) else {
            throw Self.invalid("it says that another number of blocks is mapped than it maps")
        }
    }

    /// The file's own checksum is that of the file with zeros in the checksum's place.
    private static func checkItself(
        _ file: [UInt8], _ checksum: String, _ algorithm: MessageDigest.Algorithm
    ) throws(StationError) {
        let digits = Array(checksum.utf8)
        var zeroed = file
        guard digits.count == (algorithm == .sha1 ? 40 : 64), let start = file.firstRange(of: digits)?.lowerBound else {
            throw invalid("it has no checksum of itself")
        }
        for index in start..<start + digits.count { zeroed[index] = 0x30 }
        let digest = MessageDigest(algorithm)
        zeroed.withUnsafeBytes { digest.update($0) }
        guard let found = digest.finish(), hexadecimal(found) == checksum.lowercased() else {
            throw StationError(
                "bmap_damaged", "the bmap file does not have the checksum that it says it has",
                remedy: "fetch the bmap file again, or import with --no-bmap")
        }
    }

    static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    static func invalid(_ why: String) -> StationError {
        StationError(
            "bmap_invalid", "the bmap file cannot be used: \(why)",
            remedy: "fetch the bmap file again, or import with --no-bmap")
    }
}
