import FoundationEssentials
import Glibc
import StationCore
import StationLinux

@testable import ImageLibrary

extension FuzzTarget {
    /// Tar archives: of Image Builders, of a profile's files, of images and of backups.
    static let tarTargets = [
        FuzzTarget("tar-extract", lengthLimit: 8192, words: tarWords) { bytes in
            let rules: TarExtraction.Rules = bytes.first == 1 ? .overlay : .builder
            let place = try ExtractionPlace()
            _ = try accepted { try place.extract(mendedTar(Array(bytes.dropFirst())), rules) }
            try place.demandHarmless(rules)
        },
        FuzzTarget("tar-image", lengthLimit: 8192, words: tarWords) { bytes in try demandArchive(mendedTar(bytes), .tar)
        },
        FuzzTarget("overlay-check", lengthLimit: 8192, words: tarWords) { bytes in
            let bytes = mendedTar(bytes)
            let isGood = try accepted { try checkOverlay(bytes, pieceLength: bytes.count) } != nil
            let isGoodInPieces = try accepted { try checkOverlay(bytes, pieceLength: 100) } != nil
            try demand(isGood == isGoodInPieces, "the archive of a profile's files is another in pieces")
            // An empty one is good, and nobody lays it out.
            guard isGood, bytes.count > 1024 else { return }
            let place = try ExtractionPlace()
            try demand(
                try accepted { try place.extract(bytes, .overlay) } != nil,
                "the archive of a profile's files is good, and cannot be laid out")
            try place.demandHarmless(.overlay)
        },
        FuzzTarget("backup-header", lengthLimit: 4096, words: tarWords) { bytes in
            let bytes = mendedTar(bytes)
            guard case (let header, let rest)?? = try accepted({ try readHeader(bytes[...]) }) else { return }
            if let size = header.sparseByteCount { try demandSparseMap(rest, fileByteCount: size) }
            // What the header does not keep by its form is left out of the comparison.
            let texts = [header.path, header.linkTarget, header.owner]
            guard !texts.contains(where: { $0.utf8.contains(0) }), header.owner.utf8.count <= 31 else { return }
            let again = (try accepted { try readHeader(header.bytes[...]) } ?? nil)?.0
            try demand(
                again?.path == header.path && again?.kind == header.kind && again?.linkTarget == header.linkTarget
                    && again?.storedByteCount == header.storedByteCount
                    && again?.sparseByteCount == header.sparseByteCount && again?.mode == header.mode,
                "a header of a backup is another when it is written and read again")
        },
        FuzzTarget("sparse-map", lengthLimit: 1024, words: ["0\n", "512\n", "18446744073709551615\n"]) { bytes in
            try demandSparseMap(bytes[...], fileByteCount: 1 << 30)
        },
        FuzzTarget(
            "backup-manifest", lengthLimit: 4096,
            words: [
                "\"members\":[", "\"path\":\"config/", "\"path\":\"state/", "\"kind\":\"file\"",
                "\"kind\":\"directory\"",
                "\"kind\":\"link\"", "\"target\":\"", "\"byteCount\":", "\"sha256\":\"", "\"formatVersion\":",
                "builders/",
                "builds/", "images/", "store/station.db", "/..", "\u{301}", "\\u0000",
                String(repeating: "a", count: 64),
                String(repeating: "0", count: 32),
            ]
        ) { bytes in
            guard
                let manifest = try accepted({ () -> BackupManifest in
                    let manifest = try JSONDecoder().decode(BackupManifest.self, from: Data(bytes))
                    try manifest.check()
                    return manifest
                })
            else { return }
            try demandSameAsJSON(manifest)
            for member in manifest.members {
                try demandInside(member.path)
                let parts = member.path.utf8.split(separator: UInt8(ascii: "/"))
                let isOurs = ["config", "state"].contains { parts.first?.elementsEqual($0.utf8) == true }
                try demand(isOurs, "a member of a backup is of no station's state")
                guard let target = member.target else { continue }
                let isToHost = target.utf8.first == UInt8(ascii: "/") && member.path.hasPrefix("state/builders/")
                // `state/builds/ID` is the least of a link's tree.
                try demand(
                    isToHost || staysInside(Array(target.utf8), depth: parts.count - 1, least: 3),
                    "a link of a backup leads out of its tree")
            }
        },
    ]

    private static let tarWords = [
        "ustar\0" + "00", "ustar  \0", "ib/", "../", "/etc/", "GNU.sparse.major=1\n", "GNU.sparse.realsize=", "path=",
        "linkpath=", "size=", "././@LongLink", "\0\0\0\0\0\0\0\0", "0000644\0", "00000000001\0", "PaxHeaders/pax",
    ]
}

/// Gives every header its right checksum, which no fuzzer guesses.
func mendedTar(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    var start = 0
    while start + 512 <= bytes.count {
        let block = start..<start + 512
        if bytes[block].contains(where: { $0 != 0 }) {
            for index in start + 148..<start + 156 { bytes[index] = 0x20 }
            let sum = String(bytes[block].reduce(0) { $0 + Int($1) }, radix: 8)
            let digits = String(repeating: "0", count: max(0, 6 - sum.utf8.count)) + sum
            bytes.replaceSubrange(start + 148..<start + 155, with: Array(digits.utf8) + [0])
        }
        let digits = bytes[start + 124..<start + 136].prefix { (0x30...0x37).contains($0) }
        let size = digits.reduce(0) { min(1 << 40, $0 * 8 + Int($1 - 0x30)) }
        start += 512 + (size + 511) / 512 * 512
    }
    return bytes
}

private func checkOverlay(_ bytes: [UInt8], pieceLength: Int) throws {
    var check = OverlayCheck()
    var rest = bytes[...]
    while !rest.isEmpty {
        try Array(rest.prefix(pieceLength)).withUnsafeBytes { try check.take($0) }
        rest = rest.dropFirst(pieceLength)
    }
    try check.finish()
}

/// Reads a header of a backup, with what an extended one before it says.
/// - Returns: what stands behind it, too.
private func readHeader(_ bytes: ArraySlice<UInt8>) throws -> (TarHeader, ArraySlice<UInt8>)? {
    guard bytes.count >= 512, let first = try TarHeader(block: Array(bytes.prefix(512))) else { return nil }
    guard first.kind == .extended else { return (first, bytes.dropFirst(512)) }
    let length = first.storedByteCount
    guard length <= TarHeader.extensionLimit, bytes.count >= 1024 + Int(length) + TarHeader.padding(length) else {
        return nil
    }
    let extended = Array(bytes.dropFirst(512).prefix(Int(length)))
    let rest = bytes.dropFirst(512 + Int(length) + TarHeader.padding(length))
    guard rest.count >= 512, var header = try TarHeader(block: Array(rest.prefix(512))), header.kind != .extended else {
        return nil
    }
    try header.apply(extended: extended)
    return (header, rest.dropFirst(512))
}

/// A map of a file's parts is the same when it is written and read again, and no part lies over another or outside.
private func demandSparseMap(_ bytes: ArraySlice<UInt8>, fileByteCount: UInt64) throws {
    func read(_ bytes: ArraySlice<UInt8>) throws -> SparseMap {
        var rest = bytes
        return try SparseMap(of: "x", fileByteCount: fileByteCount) {
            guard !rest.isEmpty else { throw StationError("backup_damaged", "the map ends before its end") }
            let block = rest.prefix(512)
            rest = rest.dropFirst(512)
            return Array(block)
        }
    }
    guard let map = try accepted({ try read(bytes) }) else { return }
    var end: UInt64 = 0
    for part in map.parts {
        try demand(part.offset >= end && part.byteCount <= fileByteCount - part.offset, "a part of a file lies wrongly")
        end = part.offset + part.byteCount
    }
    try demand(map.byteCount <= fileByteCount, "the parts of a file are larger than the file")
    try demand(try read(map.bytes[...]) == map, "a map of a file's parts is another when it is read again")
}

/// Whether a link's target, taken by its bytes, stays below a directory: never less deep than `least`.
private func staysInside(_ target: [UInt8], depth: Int, least: Int = 0) -> Bool {
    guard let first = target.first, first != UInt8(ascii: "/") else { return false }
    var depth = depth
    for part in target.split(separator: UInt8(ascii: "/")) where !part.elementsEqual(".".utf8) {
        depth += part.elementsEqual("..".utf8) ? -1 : 1
        if depth < least { return false }
    }
    return true
}

/// A directory to lay archives out in, gone with this object, and what is beside it.
private final class ExtractionPlace {
    private let directory: String
    private let tree: String

    init() throws {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? P_tmpdir
        var template = Array("\(parent)/station-fuzz-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError("mkdtemp", parent) }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        tree = "\(directory)/tree"
        _ = try retrying("mkdir", tree) { mkdir(tree, 0o755) }
    }

    deinit { FileTree.remove(directory) }

    func extract(_ bytes: [UInt8], _ rules: TarExtraction.Rules) throws {
        try TarExtraction(
            MemoryStream(bytes), root: TarExtraction.realPath(tree), rules: rules, byteLimit: 1 << 20
        ).run()
    }

    /// Nothing is beside the tree, and in it nothing but files, directories, and links that lead where they may.
    func demandHarmless(_ rules: TarExtraction.Rules) throws {
        try demand(SmallFile.names(in: directory) == ["tree"], "something was unpacked beside the tree")
        try demandHarmless(tree, depth: 0, rules)
    }

    private func demandHarmless(_ path: String, depth: Int, _ rules: TarExtraction.Rules) throws {
        for case let name? in try Descriptor(opening: path, O_RDONLY | O_DIRECTORY).entryNames() {
            let child = "\(path)/\(name)"
            let shown = child.dropFirst(tree.count).description.printable()
            let status = try FileStatus(of: child, followingLinks: false)
            switch status.kind {
            case .link:
                let target = Array((SmallFile.link(child) ?? "").utf8)
                let isToHost = rules.mayLinkToHost && target.first == UInt8(ascii: "/")
                try demand(isToHost || staysInside(target, depth: depth), "the link \(shown) leads out")
            case .regular, .directory:
                let isTame = status.mode & 0o7777 & ~UInt32(rules.modeMask | 0o700) == 0
                try demand(isTame, "\(shown) has rights that it must not have")
                if status.kind == .directory { try demandHarmless(child, depth: depth + 1, rules) }
            default: throw Violation(description: "\(shown) is neither file, directory nor link")
            }
        }
    }
}
