import Glibc
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

@Suite("the first bytes of an image")
struct ImageHeadTests {
    /// Bytes that an image may begin with, and what is said to them.
    struct Head: Sendable, CustomTestStringConvertible {
        var name: String
        var bytes: [UInt8]
        var code: String?
        /// What is said to them as `--raw`.
        var rawCode: String?
        var testDescription: String { name }

        init(
            _ name: String, _ code: String? = nil, raw rawCode: String? = nil, at places: [(Int, [UInt8])],
            count: Int = 8192
        ) {
            self.name = name
            self.code = code
            self.rawCode = rawCode
            bytes = [UInt8](repeating: 0, count: count)
            for (offset, part) in places { bytes.replaceSubrange(offset..<offset + part.count, with: part) }
        }
    }

    private static let end: (Int, [UInt8]) = (510, [0x55, 0xAA])
    private static let efi = Array("EFI PART".utf8)
    private static let entry: [UInt8] = [0x80, 0, 2, 0, 0x0C, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0]

    private static func packed(_ name: String, _ magic: [UInt8]) -> Head {
        // The rest looks like a card, so that nothing but the first bytes can tell.
        Head(name, "image_compressed", raw: "image_compressed", at: [(0, magic), (446, entry), end])
    }

    static let heads = [
        Head("an MBR with a partition", at: [(446, entry), end]),
        Head("an MBR with its fourth entry alone", at: [(494, entry), end]),
        Head("an MBR and nothing behind it", at: [(446, entry), end], count: 512),
        Head("boot code without a partition", at: [(0, [0xFA, 0x33, 0xC0]), end]),
        Head("a GPT", at: [(446, [0, 0, 2, 0, 0xEE, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255]), end, (512, efi)]),
        Head("a GPT of 4096-byte sectors", at: [(4096, efi)]),
        Head("nothing", "image_empty", raw: "image_empty", at: [], count: 0),
        Head("zeros", "image_no_table", at: []),
        Head("one byte", "image_no_table", at: [(0, [1])], count: 1),
        Head("55 AA and nothing else", "image_no_table", at: [end]),
        Head("a partition and half of 55 AA", "image_no_table", at: [(446, entry), (510, [0x55])]),
        Head("a partition and the other half", "image_no_table", at: [(446, entry), (511, [0xAA])]),
        Head("a partition without 55 AA", "image_no_table", at: [(446, entry)]),
        Head(
            "a partition without a type", "image_no_table",
            at: [(446, [0x80, 0, 2, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0]), end]),
        Head("a partition without sectors", "image_no_table", at: [(446, Array(entry[..<12])), end]),
        Head("a partition neither active nor not", "image_no_table", at: [(446, [0x42] + entry[1...]), end]),
        Head("a squashfs", "image_no_table", at: [(0, Array("hsqs".utf8)), (4, [1, 2, 3, 4])]),
        Head("a truncated sector", "image_no_table", at: [(446, entry)], count: 511),
        packed("rar", [0x52, 0x61, 0x72, 0x21, 0x1A, 7]),
        packed("lzip", Array("LZIP\u{1}".utf8)),
        packed("lz4 of the old form", [2, 0x21, 0x4C, 0x18]),
        packed("7z", [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C]),
    ]

    @Test("a card's image is told from everything else", arguments: heads)
    func check(head: Head) throws {
        for (isRaw, code) in [(false, head.code), (true, head.rawCode)] {
            let error = libraryFailure {
                try ForeignFormat.refuse(head.bytes)
                try ImageHead.check(head.bytes, isRaw: isRaw)
            }
            #expect(error?.code == code, "raw: \(isRaw)")
            #expect(error?.remedy.isEmpty != true, "bad input is told what to do")
        }
    }

    @Test("an import asks this before anything else, and leaves nothing of what it refuses", arguments: [false, true])
    func importAsks(isRaw: Bool) throws {
        let bench = try VaultBench(usesNamedFiles: true)
        let bytes = [UInt8](repeating: 7, count: 3 << 20)
        let conditions = ImportConditions(byteLimit: 1 << 30, isRaw: isRaw)
        #expect(bench.failure(try bench.file(bytes), conditions)?.code == (isRaw ? nil : "image_no_table"))
        #expect(bench.names.count == (isRaw ? 1 : 0))
        #expect(bench.failure(try bench.file([]), conditions)?.code == "image_empty")
        let packed: [UInt8] = [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C] + bytes
        let error = try #require(bench.failure(try bench.file(packed), conditions))
        #expect(error.code == "image_compressed" && error.remedy.contains("7z"))
        #expect(bench.names.count == (isRaw ? 1 : 0))
    }

    @Test("real images that boot are taken", arguments: RealImages.paths)
    func realImages(path: String) throws {
        let bench = try VaultBench()
        #expect(bench.failure(try Descriptor(opening: path, 0)) == nil)
    }
}

/// Images of other packages; those that are installed here.
enum RealImages {
    static let paths: [String] = [
        "/usr/lib/grub-rescue/grub-rescue-usb.img", "/usr/lib/ipxe/ipxe.iso", "/usr/lib/memtest86+/memtest86+x64.iso",
    ].filter { access($0, R_OK) == 0 }
}
