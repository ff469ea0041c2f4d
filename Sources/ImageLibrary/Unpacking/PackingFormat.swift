import StationCore

/// What image files are packed in. Told by the first bytes, never by a name.
enum PackingFormat: String, CaseIterable {
    case gzip, xz, zstd, bzip2, lz4
    // With members that have names.
    case zip, tar

    /// How many of the first bytes are looked at.
    static let headByteCount = 512

    var isArchive: Bool { self == .zip || self == .tar }

    /// The format of bytes that begin so; nil for those that are not packed, and for formats that are not unpacked.
    init?(head: some Collection<UInt8>) {
        let head = Array(head.prefix(Self.headByteCount))
        guard let format = Self.allCases.first(where: { $0.begins(head) }) else { return nil }
        self = format
    }

    /// Whether a stream, or a further member of one, begins so.
    func begins(_ head: [UInt8]) -> Bool {
        switch self {
        case .gzip: head.starts(with: [0x1F, 0x8B, 0x08])
        case .xz: head.starts(with: [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00])
        // The second is a frame to be skipped, as pzstd puts in front of each of its own.
        case .zstd:
            head.starts(with: [0x28, 0xB5, 0x2F, 0xFD])
                || head.count >= 4 && head[0] & 0xF0 == 0x50 && head[1...3].elementsEqual([0x2A, 0x4D, 0x18])
        case .bzip2: head.starts(with: Array("BZh".utf8)) && head.count >= 4 && (0x31...0x39).contains(head[3])
        case .lz4: head.starts(with: [0x04, 0x22, 0x4D, 0x18])
        // A member's header, and the end of an archive without members.
        case .zip: head.starts(with: [0x50, 0x4B, 3, 4]) || head.starts(with: [0x50, 0x4B, 5, 6])
        case .tar: Self.isTarHeader(head)
        }
    }

    /// A header of tar: `ustar` at its place, and a checksum that is right, for boot code may have any text anywhere.
    private static func isTarHeader(_ head: [UInt8]) -> Bool {
        guard head.count >= 512, head[257..<262].elementsEqual("ustar".utf8) else { return false }
        let digits = head[148..<156].drop { $0 == 0x20 }.prefix { (0x30...0x37).contains($0) }
        let sum = head[..<148].reduce(0) { $0 + Int($1) } + head[156..<512].reduce(8 * 0x20) { $0 + Int($1) }
        return digits.reduce(0) { $0 * 8 + Int($1 - 0x30) } == sum
    }
}

/// Packings that are known, but not unpacked.
enum ForeignFormat {
    private static let all: [(name: String, magic: [UInt8], command: String)] = [
        ("7z", [0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], "7z e -so FILE"),
        ("rar", [0x52, 0x61, 0x72, 0x21, 0x1A, 0x07], "unrar p -inul FILE"),
        ("lzip", [0x4C, 0x5A, 0x49, 0x50, 0x01], "lzip -dc FILE"),
        ("lzop", [0x89, 0x4C, 0x5A, 0x4F, 0x00, 0x0D, 0x0A, 0x1A, 0x0A], "lzop -dc FILE"),
        ("lzma", [0x5D, 0x00, 0x00], "xz -dc --format=lzma FILE"),
        ("compress", [0x1F, 0x9D], "gunzip -c FILE"),
        ("lz4 of the old form", [0x02, 0x21, 0x4C, 0x18], "lz4 -dc FILE"),
    ]

    /// - Throws: `image_compressed` where bytes that begin so are packed with one.
    static func refuse(_ head: some Collection<UInt8>) throws(StationError) {
        guard let format = all.first(where: { head.starts(with: $0.magic) }) else { return }
        throw StationError(
            "image_compressed", "the image is packed with \(format.name), which the station does not unpack",
            remedy: "\(format.command) | stationctl image import - --name NAME")
    }
}
