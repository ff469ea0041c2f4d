import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

/// Files in `Tests/Fixtures`.
enum Fixture {
    static func bytes(_ path: String) throws -> [UInt8] {
        let tests = #filePath.split(separator: "/").dropLast(2).map { "/\($0)" }.joined()
        return try SmallFile.read("\(tests)/Fixtures/\(path)", limit: 16 << 20)
    }
}

@Suite("OpenWrt's trailer behind a gzip stream")
struct FwtoolTrailerTests {
    private static func block(_ data: [UInt8], type: UInt8, magic: String = "FWx0", length: Int? = nil) -> [UInt8] {
        let length = length ?? data.count + 16
        let number = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> $0) }
        return data + Array(magic.utf8) + [1, 2, 3, 4, type, 0, 0, 0] + number
    }

    private static let metadata = [UInt8](repeating: 0, count: 8) + Array(#"{"metadata_version":"1.1"}"#.utf8)

    @Test("an image with one is imported, from a file and from a pipe")
    func imported() throws {
        let bench = try VaultBench()
        let file = try Fixture.bytes("openwrt/disk-with-fwtool-trailer.img.gz")
        let sealed = try bench.vault.importImage(from: bench.file(file), .any)
        #expect(sealed.byteCount == 65536 && sealed.origin.container == "gzip" && sealed.origin.isChecked)
        let (pipe, writer) = try VaultBench.pipe(giving: file, piece: 100)
        #expect(try bench.vault.importImage(from: pipe, .any).sha256 == sealed.sha256)
        #expect(try writer.value())
        // Cut off within the trailer, or with a byte behind it, it is none.
        for wrong in [Array(file.dropLast()), file + [0], Array(file.dropLast(40))] {
            #expect(bench.failure(try bench.file(wrong))?.code == "image_trailing_bytes")
        }
    }

    @Test("blocks of metadata and signature are one; anything else is not")
    func structure() {
        let (info, signature) = (Self.block(Self.metadata, type: 1), Self.block([1, 2, 3], type: 0))
        for good in [info, signature, info + signature] {
            #expect(FwtoolTrailer.isTrailer(good[...]))
        }
        var unpadded = info
        unpadded[unpadded.count - 6] = 1
        let bad = [
            [], [0], [0] + info, info + [0], Array(info.dropFirst()), Self.block(Self.metadata, type: 2),
            Self.block(Self.metadata, type: 1, magic: "FWx1"), Self.block([1] + Self.metadata, type: 1),
            Self.block(Self.metadata, type: 1, length: 15), Self.block(Self.metadata, type: 1, length: 1 << 20),
            Self.block([UInt8](repeating: 0, count: 1025), type: 0), Self.block([0, 0, 0], type: 1), unpadded,
        ]
        for (index, bytes) in bad.enumerated() { #expect(!FwtoolTrailer.isTrailer(bytes[...]), "\(index)") }
    }

    @Test("it belongs to gzip, and to nothing else")
    func elsewhere() throws {
        let bench = try VaultBench()
        let trailer = Self.block(Self.metadata, type: 1)
        let image = PackedSample.image(3000)
        for name in ["gzip", "xz", "zstd", "bzip2", "lz4", "zip"] {
            let file = try PackedSample.make(name, of: image) + trailer
            #expect(bench.failure(try bench.file(file))?.code == (name == "gzip" ? nil : "image_trailing_bytes"))
        }
    }
}
