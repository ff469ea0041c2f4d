import Digests
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

@Suite("bmap files")
struct BmapTests {
    /// An image with holes, and the bmap of it that bmaptool makes.
    private struct Sample {
        let image: [UInt8]
        let bmap: [UInt8]

        init() throws {
            var bytes = PackedSample.image((3 << 20) + 100)
            bytes.replaceSubrange(8192..<(1 << 20), with: [UInt8](repeating: 0, count: (1 << 20) - 8192))
            image = bytes
            bmap = try PackedSample.run(
                "cp --sparse=always image image.sparse && bmaptool -q create -o out image.sparse", ["image": bytes])
        }
    }

    private static func code(_ image: [UInt8], _ bmap: [UInt8]) -> String? {
        libraryFailure {
            var check = BmapCheck(try Bmap(bmap))
            for start in stride(from: 0, to: image.count, by: 70_001) {
                try image[start..<min(image.count, start + 70_001)].withUnsafeBytes { try check.update($0) }
            }
            try check.finish()
        }?.code
    }

    @Test("the image must be the one that bmaptool saw, wherever it is mapped, and as long")
    func check() throws {
        let sample = try Sample()
        let bmap = try Bmap(sample.bmap)
        #expect(
            bmap.imageByteCount == UInt64(sample.image.count) && bmap.algorithm == .sha256 && bmap.ranges.count == 2)
        #expect(Self.code(sample.image, sample.bmap) == nil)
        for offset in [0, 8191, 1 << 20, sample.image.count - 1] {
            var image = sample.image
            image[offset] ^= 1
            #expect(Self.code(image, sample.bmap) == "bmap_mismatch", "\(offset)")
        }
        var image = sample.image
        image[9000] = 1
        #expect(Self.code(image, sample.bmap) == nil, "what is not mapped has no checksum")
        #expect(Self.code(sample.image + [0], sample.bmap) == "bmap_mismatch")
        #expect(Self.code(Array(sample.image.dropLast()), sample.bmap) == "bmap_mismatch")
    }

    @Test("an import compares, and leaves nothing of an image that is another")
    func imports() throws {
        let (bench, sample) = (try VaultBench(), try Sample())
        let packed = try PackedSample.run("gzip -c i > out", ["i": sample.image])
        let bmap = try bench.file(sample.bmap)
        let sealed = try bench.vault.importImage(from: bench.file(packed), .any, companions: [.bmap: bmap])
        #expect(sealed.origin.vouching == ImageVouching(kind: .bmap, subject: .image))
        try bench.vault.removeImage(sealed.sha256)
        var changed = sample.image
        changed[5000] ^= 1
        let other = try bench.file(changed)
        let error = libraryFailure { _ = try bench.vault.importImage(from: other, .any, companions: [.bmap: bmap]) }
        #expect(error?.code == "bmap_mismatch" && bench.names.isEmpty)
    }

    @Test("any bit of the file flipped is noticed, or changes nothing that counts")
    func damaged() throws {
        let sample = try Sample()
        let good = try Bmap(sample.bmap)
        var bytes = sample.bmap
        for index in bytes.indices {
            bytes[index] ^= 1 << (index % 7)
            if let bmap = try? Bmap(bytes) { #expect(bmap == good, "byte \(index)") }
            bytes[index] = sample.bmap[index]
        }
        #expect(libraryFailure { _ = try Bmap(Array(sample.bmap.dropLast(20))) } != nil)
    }

    @Test(
        "entities, other documents and senseless ones are refused",
        arguments: [
            (
                "<!DOCTYPE bmap [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><bmap version=\"2.0\">&b;</bmap>",
                "document type"
            ),
            ("<!DOCTYPE bmap SYSTEM \"file:///etc/passwd\"><bmap version=\"2.0\"/>", "document type"),
            ("<html/>", "no bmap"), ("", ""), ("{}", ""), ("<bmap version=\"2.0\"/>", "ChecksumType"),
            ("<bmap version=\"2.0\">" + String(repeating: "<x>", count: 1000), "deep"),
        ])
    func hostile(text: String, why: String) {
        let error = libraryFailure { _ = try Bmap(Array(text.utf8)) }
        #expect(error?.code == "bmap_invalid" && error?.message.contains(why) == true, "\(String(describing: error))")
    }

    @Test("versions without checksums, and unknown ones, are told apart", arguments: ["1.2", "1.0", "3.0", "x", "2"])
    func versions(version: String) {
        let text = "<bmap version=\"\(version)\"><ImageSize> 1 </ImageSize></bmap>"
        #expect(libraryFailure { _ = try Bmap(Array(text.utf8)) }?.code == "bmap_unsupported")
    }

    @Test("a checksum of itself that has another length than its kind has is none", arguments: [40, 63, 65, 4000])
    func length(digits: Int) throws {
        let digest = String(repeating: "0", count: digits)
        let text =
            "<bmap version=\"2.0\"><ChecksumType>sha256</ChecksumType><BmapFileChecksum>\(digest)</BmapFileChecksum></bmap>"
        #expect(libraryFailure { _ = try Bmap(Array(text.utf8)) }?.code == "bmap_invalid")
    }

    /// Sizes and ranges that do not fit, in a file whose own checksum is right.
    @Test(
        "ranges behind the end, in no order, or of another number than is said, are refused",
        arguments: ["0-9", "1-0", "-1", "0-", "a", "0 1", "5"])
    func ranges(range: String) throws {
        let digest = String(repeating: "0", count: 64)
        let text = """
            <bmap version="1.4"><ImageSize>16384</ImageSize><BlockSize>4096</BlockSize><BlocksCount>4</BlocksCount>
            <MappedBlocksCount>2</MappedBlocksCount><ChecksumType>sha256</ChecksumType>
            <BmapFileChecksum>\(digest)</BmapFileChecksum><BlockMap><Range chksum="\(digest)">0</Range>
            <Range chksum="\(digest)">RANGE</Range></BlockMap></bmap>
            """
        func bmap(_ range: String) throws -> [UInt8] {
            let text = Array(text.replacing("RANGE", with: range).utf8)
            let own = try VaultBench.digest(text).hexadecimal
            return Array(
                String(decoding: text, as: UTF8.self).replacing("Checksum>\(digest)", with: "Checksum>\(own)").utf8)
        }
        #expect(try Bmap(bmap("3")).ranges.map(\.bytes) == [0..<4096, 12288..<16384])
        #expect(libraryFailure { _ = try Bmap(bmap(range)) }?.code == "bmap_invalid")
        #expect(libraryFailure { _ = try Bmap(bmap("1-2")) }?.code == "bmap_invalid", "three blocks, and it says two")
    }
}
