/// One member of a tar archive as backups have them: POSIX (pax) headers, files with holes as GNU tar's sparse format 1.0.
/// Debian's tar reads it; of what tar may write, `read` understands what `bytes` makes and nothing else.
///
/// Not a library's reader, because root reads a file from anywhere with it: a reader that knows every form of tar takes names, links,
/// devices and owners that would all have to be refused again, and does so in C.
package struct TarHeader: Equatable, Sendable {
    package static let blockByteCount = 512
    /// The longest extended header, in bytes.
    package static let extensionLimit: UInt64 = 16 * 1024

    package enum Kind: UInt8, Sendable {
        case file = 0x30
        case link = 0x32
        case directory = 0x35
        /// Belongs to the header that follows.
        case extended = 0x78
    }

    package var path: String
    package var kind: Kind
    /// Of what follows in the archive, without the padding.
    package var storedByteCount: UInt64
    /// Of a file with holes: its whole length. What follows begins with the map of its parts.
    package var sparseByteCount: UInt64?
    package var mode: UInt32
    /// Seconds since 1970.
    package var modifiedAt: Int64
    package var linkTarget: String
    package var owner: String

    package init(
        path: String, kind: Kind, storedByteCount: UInt64 = 0, sparseByteCount: UInt64? = nil, mode: UInt32,
        modifiedAt: Int64, linkTarget: String = "", owner: String = "root"
    ) {
        self.path = path
        self.kind = kind
        self.storedByteCount = storedByteCount
        self.sparseByteCount = sparseByteCount
        self.mode = mode
        self.modifiedAt = modifiedAt
        self.linkTarget = linkTarget
        self.owner = owner
    }

    /// How many bytes fill up the last block behind so many.
    package static func padding(_ byteCount: UInt64) -> Int { Int((512 - byteCount % 512) % 512) }

    // MARK: Writing

    /// The header, and before it an extended one where the plain one has no room.
    package var bytes: [UInt8] {
        var records: [(String, String)] = []
        if let sparseByteCount {
            records += [
                ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", path),
                ("GNU.sparse.realsize", "\(sparseByteCount)"),
            ]
        } else if path.utf8.count > 100 {
            records.append(("path", path))
        }
        if linkTarget.utf8.count > 100 { records.append(("linkpath", linkTarget)) }
        if storedByteCount >= 1 << 33 { records.append(("size", "\(storedByteCount)")) }
        var result: [UInt8] = []
        if !records.isEmpty {
            let body = records.flatMap { Self.record($0.0, $0.1) }
            var head = self
            (head.kind, head.storedByteCount, head.path, head.linkTarget) = (.extended, UInt64(body.count), "pax", "")
            result = head.block(name: "PaxHeaders/pax") + body
            result += [UInt8](repeating: 0, count: Self.padding(UInt64(body.count)))
        }
        // A reader that knows no sparse files makes one of this name of it.
        let name = sparseByteCount != nil ? "GNUSparseFile.0/\(path)" : path
        return result + block(name: name)
    }

    /// `LENGTH KEY=VALUE\n`, the length counting its own digits.
    private static func record(_ key: String, _ value: String) -> [UInt8] {
        let rest = " \(key)=\(value)\n"
        var length = rest.utf8.count + 1
        while "\(length)".utf8.count + rest.utf8.count != length { length += 1 }
        return Array("\(length)\(rest)".utf8)
    }

    private func block(name: String) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: Self.blockByteCount)
        func put(_ text: String, at offset: Int, limit: Int) {
            for (index, byte) in text.utf8.prefix(limit).enumerated() { block[offset + index] = byte }
        }
        func put(_ number: UInt64, at offset: Int, digits: Int) {
            let text = String(number, radix: 8)
            put(
                String(repeating: "0", count: max(0, digits - text.utf8.count)) + text.suffix(digits), at: offset,
                limit: digits)
        }
        put(name, at: 0, limit: 100)
        put(UInt64(mode & 0o7777), at: 100, digits: 7)
        put(0, at: 108, digits: 7)
        put(0, at: 116, digits: 7)
        put(storedByteCount < 1 << 33 ? storedByteCount : 0, at: 124, digits: 11)
        put(UInt64(max(0, min(modifiedAt, 1 << 33 - 1))), at: 136, digits: 11)
        put("        ", at: 148, limit: 8)
        block[156] = kind.rawValue
        put(linkTarget, at: 157, limit: 100)
        put("ustar\0" + "00", at: 257, limit: 8)
        put(owner, at: 265, limit: 31)
        put(owner, at: 297, limit: 31)
        put(0, at: 329, digits: 7)
        put(0, at: 337, digits: 7)
        put(UInt64(block.reduce(0) { $0 + Int($1) }), at: 148, digits: 6)
        block[154] = 0
        return block
    }

    // MARK: Reading

    /// Reads one block. Nil for a block of zeros, which ends an archive.
    /// - Throws: `backup_member` for what no backup has: devices, hard links, other formats; `backup_damaged`.
    package init?(block: [UInt8]) throws(StationError) {
        guard block.contains(where: { $0 != 0 }) else { return nil }
        func text(_ offset: Int, _ length: Int) -> String {
            String(decoding: block[offset..<offset + length].prefix { $0 != 0 }, as: UTF8.self)
        }
        func number(_ offset: Int, _ length: Int) -> UInt64? {
            UInt64(text(offset, length).filter { $0 != " " }, radix: 8)
        }
        let sum = block.enumerated().reduce(0) { $0 + ((148..<156).contains($1.offset) ? 0x20 : Int($1.element)) }
        guard block.count == Self.blockByteCount, number(148, 8) == UInt64(sum) else {
            throw StationError(
                "backup_damaged", "the archive is damaged: a header has not its checksum",
                remedy: "take another copy of the backup")
        }
        path = text(0, 100)
        guard Array(block[257..<265]) == Array("ustar\0".utf8) + Array("00".utf8), block[345] == 0 else {
            throw BackupArea.refusal(path, "is of another kind of tar")
        }
        guard let kind = Kind(rawValue: block[156]) else {
            throw BackupArea.refusal(
                path, "is neither file, directory nor link, but of type “\(text(156, 1).printable())”")
        }
        guard let size = number(124, 12), let mode = number(100, 8), let time = number(136, 12) else {
            throw BackupArea.refusal(path, "has numbers that are none")
        }
        self.kind = kind
        storedByteCount = size
        self.mode = UInt32(mode & 0o7777)
        modifiedAt = Int64(time)
        linkTarget = text(157, 100)
        owner = text(265, 31)
        guard kind == .file || kind == .extended || size == 0 else { throw BackupArea.refusal(path, "has a size") }
    }

    /// Takes over what an extended header said.
    /// - Throws: `backup_member` for keys that no backup has.
    package mutating func apply(extended bytes: [UInt8]) throws(StationError) {
        var rest = bytes[...]
        var isSparse = 0
        while !rest.isEmpty {
            let digits = rest.prefix { $0 != 0x20 }
            guard digits.count < 7, let length = Int(String(decoding: digits, as: UTF8.self)),
                length > digits.count + 2, length <= rest.count, rest[rest.startIndex + length - 1] == 0x0A
            else { throw BackupArea.refusal(path, "has an extended header that cannot be read") }
            let record = rest.prefix(length).dropFirst(digits.count + 1).dropLast()
            rest = rest.dropFirst(length)
            let key = String(decoding: record.prefix { $0 != 0x3D }, as: UTF8.self)
            guard let value = String(validating: record.drop { $0 != 0x3D }.dropFirst(), as: UTF8.self) else {
                throw BackupArea.refusal(path, "has a name that is no text")
            }
            switch key {
            case "path", "GNU.sparse.name": path = value
            case "linkpath": linkTarget = value
            case "size" where kind == .file:
                guard let number = UInt64(value) else { throw BackupArea.refusal(path, "has a size that is none") }
                storedByteCount = number
            case "GNU.sparse.realsize" where kind == .file:
                guard let number = UInt64(value) else { throw BackupArea.refusal(path, "has a size that is none") }
                sparseByteCount = number
            case "GNU.sparse.major" where value == "1", "GNU.sparse.minor" where value == "0": isSparse += 1
            default: throw BackupArea.refusal(path, "has a header “\(key.printable(limit: 60))” that no backup has")
            }
        }
        guard isSparse == (sparseByteCount == nil ? 0 : 2) else {
            throw BackupArea.refusal(path, "has holes of another format")
        }
    }
}
