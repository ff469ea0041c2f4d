import Digests
import Glibc
import StationCore
import StationLinux
import StationTestSupport

@testable import ImageLibrary

extension FuzzTarget {
    /// Image files, as they are packed, and the maps that come beside them.
    static let imageTargets =
        PackingFormat.allCases.filter { !$0.isArchive }.map { format in
            FuzzTarget("unpack-\(format.rawValue)", lengthLimit: 4096) { bytes in
                let whole = try Unpacked(bytes, format, pieceByteCount: 1 << 16)
                let pieces = try Unpacked(bytes, format, pieceByteCount: 1000)
                guard whole.isRead, pieces.isRead else { return }
                // A zstd frame that fits into the piece needs no window, however large a one it asks for.
                guard format != .zstd || pieces.error != "image_memory" else { return }
                try demand(whole == pieces, "\(format.rawValue) unpacks to something else in pieces")
                // What unpacks does not do so with its last byte missing, nor with one more; zeros may follow in xz.
                guard whole.error == nil, format != .gzip else { return }
                let cut = try Unpacked(bytes.dropLast(), format, pieceByteCount: 1 << 16)
                try demand(cut.error != nil, "a \(format.rawValue) file that was cut off is taken")
                let added = try Unpacked(bytes + [1], format, pieceByteCount: 1 << 16)
                try demand(added.error != nil, "a \(format.rawValue) file that was added to is taken")
            }
        } + [
            FuzzTarget("image-import", lengthLimit: 8192, words: ["PK\u{3}\u{4}", "PK\u{5}\u{6}", "ustar", "FWx0"]) {
                bytes in
                let (isRaw, file) = (bytes.first == 1, Array(bytes.dropFirst()))
                let product = try accepted { try importImage(file, isRaw: isRaw) }
                guard let product else { return }
                let image = try SmallFile.read(product.file.descriptor, path: "image", limit: importLimit)
                try demand(UInt64(image.count) == product.byteCount, "an image has another length than it says")
                let digest = image.withUnsafeBytes { SHA256Hasher.digest($0) }
                try demand(digest == product.sha256, "an image has other bytes than it says")
                let isDisk = ImageHead.hasPartitionTable(Array(image.prefix(ImageHead.byteCount)))
                try demand(isRaw || isDisk, "an image begins with no partition table")
                if product.origin.container == ImageOrigin.rawContainer {
                    try demand(image == file, "an image that was not packed is another")
                }
            },
            FuzzTarget(
                "zip", lengthLimit: 4096, words: ["PK\u{1}\u{2}", "PK\u{3}\u{4}", "PK\u{5}\u{6}", "PK\u{6}\u{6}"]
            ) {
                bytes in
                try demandArchive(bytes, .zip)
            },
            FuzzTarget("bmap", lengthLimit: 4096, words: bmapWords) { bytes in
                let bytes = BmapSample.mended(bytes)
                guard let bmap = try accepted({ try Bmap(bytes) }) else { return }
                var end: UInt64 = 0
                for range in bmap.ranges {
                    try demand(range.bytes.lowerBound >= end && !range.bytes.isEmpty, "ranges of blocks overlap")
                    end = range.bytes.upperBound
                }
                try demand(end <= bmap.imageByteCount, "a range of blocks lies behind the image")
                guard bmap.imageByteCount <= 1 << 20 else { return }
                // Zeros are no image that a map has real checksums of, in whatever pieces they come.
                let results = try [1 << 20, 4096, 333].map { try BmapSample.check(bmap, pieceByteCount: $0) }
                try demand(Set(results).count == 1, "an image is compared with another result in pieces")
            },
            FuzzTarget("fwtool-trailer", lengthLimit: 1024, words: ["FWx0"]) { bytes in
                guard FwtoolTrailer.isTrailer(bytes[...]) else { return }
                try demand(Array(bytes.suffix(16).prefix(4)) == Array("FWx0".utf8), "what is no trailer is one")
                try demand(FwtoolTrailer.isTrailer(([0] + bytes).dropFirst()), "a trailer is none in another place")
                try demand(!FwtoolTrailer.isTrailer(([0] + bytes)[...]), "a trailer with a byte before it is one")
            },
        ]

    private static let bmapWords = [
        "<?xml version=\"1.0\" ?>\n", "<bmap version=\"2.0\">", "</bmap>", "<ImageSize> ", "<BlockSize> ",
        "<BlocksCount> ",
        "<MappedBlocksCount> ", "<ChecksumType> sha256 ", "<BmapFileChecksum> ", "<BmapFileSHA1> ", "<BlockMap>",
        "<Range chksum=\"", "<Range sha1=\"", "<!DOCTYPE x [", "<!ENTITY a \"b\">", "&a;", "<![CDATA[", "-->",
    ]
}

/// Bytes in memory, read once.
final class MemoryStream: ByteStream {
    private var rest: ArraySlice<UInt8>
    init(_ bytes: [UInt8]) { rest = bytes[...] }

    var byteCount: UInt64? { nil }
    var isChecked: Bool { false }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let piece = rest.prefix(buffer.count)
        buffer.copyBytes(from: piece)
        rest = rest.dropFirst(piece.count)
        return piece.count
    }
}

/// What a stream unpacks to, as far as that is sensible, and why not further.
private struct Unpacked: Equatable {
    /// Enough to need every buffer twice.
    private static let byteLimit = 1 << 20

    var bytes: [UInt8] = []
    /// To its end, or to the error.
    var isRead = false
    var error: String?

    init(_ packed: some Collection<UInt8>, _ format: PackingFormat, pieceByteCount: Int) throws {
        let found = try accepted { () throws -> [UInt8] in
            let head = try PeekedStream(MemoryStream(Array(packed)), headByteCount: ImageHead.byteCount)
            let stream = try PackedStream(head, format)
            _ = stream.byteCount
            while bytes.count < Self.byteLimit {
                do throws(StationError) {
                    let piece = try stream.take(pieceByteCount)
                    bytes += piece
                    if piece.count < pieceByteCount {
                        isRead = true
                        return bytes
                    }
                } catch {
                    self.error = error.code
                    throw error
                }
            }
            return bytes
        }
        if found == nil { (error, isRead) = (error ?? "refused", true) }
        // How much came before an error depends on the buffer.
        bytes = error == nil ? Array(bytes.prefix(Self.byteLimit)) : []
    }
}

/// No image here is longer.
private let importLimit = 4 << 20

private func importImage(_ bytes: [UInt8], isRaw: Bool) throws -> ImageImport.Product {
    let directory = getenv("TMPDIR").map { String(cString: $0) } ?? P_tmpdir
    let source = try ImageSource(TemporaryFile.writable(bytes), stop: nil)
    var work = try ImageImport(
        ImportConditions(byteLimit: UInt64(importLimit), isRaw: isRaw), source: source, companions: [:],
        keyDirectories: [], room: VaultRoom(directory: directory, limit: UInt64(importLimit), imagePaths: []),
        progress: ImportProgressTeller(clock: { 0 }, send: { _, _, _ in })
    ) { () throws(StationError) in try UnsealedFile(in: directory, isNamed: false) }
    return try work.run()
}

/// What an archive says of its members is so, and each is read to its end or refused.
func demandArchive(_ bytes: [UInt8], _ format: PackingFormat) throws {
    let directory = getenv("TMPDIR").map { String(cString: $0) } ?? P_tmpdir
    _ = try accepted {
        let file = try UnsealedFile(in: directory, isNamed: false)
        try bytes.withUnsafeBytes { try file.descriptor.write(all: $0) }
        let archive = try ArchiveFile(ScratchFile(file, byteCount: UInt64(bytes.count), isChecked: true), format)
        let members = try archive.members()
        _ = try? MemberChoice.choose(from: members, named: nil, isRaw: false)
        for member in members.prefix(8) {
            let stream = try archive.open(member)
            var done = 0
            while done < importLimit {
                let count = try stream.take(1 << 16).count
                done += count
                if count < 1 << 16 { break }
            }
            _ = stream.bytesRead
        }
    }
}

private enum BmapSample {
    /// Puts the right checksum in the place of the file's own, which no fuzzer guesses.
    static func mended(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for (tag, algorithm, length) in [
            ("BmapFileChecksum", MessageDigest.Algorithm.sha256, 64), ("BmapFileSHA1", .sha1, 40),
        ] {
            guard let found = bytes.firstRange(of: Array("<\(tag)>".utf8))?.upperBound else { continue }
            let start = bytes[found...].firstIndex { $0 != 0x20 } ?? bytes.count
            guard start + length <= bytes.count, bytes[start..<start + length].allSatisfy(isHexadecimal) else {
                continue
            }
            for index in start..<start + length { bytes[index] = 0x30 }
            let digest = MessageDigest(algorithm)
            bytes.withUnsafeBytes { digest.update($0) }
            guard let sum = digest.finish() else { continue }
            bytes.replaceSubrange(start..<start + length, with: Bmap.hexadecimal(sum).utf8)
        }
        return bytes
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (97...102).contains(byte) }

    /// The error of an image of zeros; empty where it is taken.
    static func check(_ bmap: Bmap, pieceByteCount: Int) throws -> String {
        let zeros = [UInt8](repeating: 0, count: pieceByteCount)
        var code = "image_refused"
        let isGood: Bool? = try accepted {
            var check = BmapCheck(bmap)
            var left = Int(bmap.imageByteCount)
            do {
                while left > 0 {
                    let count = min(left, pieceByteCount)
                    try zeros.withUnsafeBytes { try check.update(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
                    left -= count
                }
                try check.finish()
            } catch let error as StationError {
                code = error.code
                throw error
            }
            return true
        }
        return isGood == true ? "" : code
    }
}
