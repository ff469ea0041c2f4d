import StationCore

/// How archives end. What was cut off behind the last member, or put there, shows here only.
enum ArchiveEnd {
    private static let zipMagic: [UInt8] = [0x50, 0x4B, 5, 6]
    private static let zipByteCount = 22

    /// A zip ends with the record of where its directory is, and a comment whose length is the record's last number.
    static func checkZip(_ file: ScratchFile) throws(StationError) {
        let tail = try tail(of: file, zipByteCount + 0xFFFF)
        var recordEnd: Int?
        for start in stride(from: tail.count - zipByteCount, through: 0, by: -1)
        where tail[start..<start + 4].elementsEqual(zipMagic) {
            let end = start + zipByteCount + Int(tail[start + 20]) + Int(tail[start + 21]) << 8
            if end == tail.count { return }
            recordEnd = recordEnd ?? end
        }
        guard let recordEnd, recordEnd < tail.count else { throw truncated(.zip) }
        throw trailing(.zip, "\(tail.count - recordEnd)")
    }

    /// A tar is of blocks of 512 bytes, and ends with two or more that are zero.
    static func checkTar(_ file: ScratchFile) throws(StationError) {
        let tail = try tail(of: file, 1024)
        guard tail.count == 1024, file.byteCount % 512 == 0, tail.allSatisfy({ $0 == 0 }) else {
            // What stands there instead may be the rest of a member, or what somebody appended: nothing tells.
            throw truncated(.tar)
        }
    }

    private static func tail(of file: ScratchFile, _ limit: Int) throws(StationError) -> [UInt8] {
        let count = Int(min(UInt64(limit), file.byteCount))
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, count), alignment: 16)
        defer { buffer.deallocate() }
        let got = try file.read(
            into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: file.byteCount - UInt64(count))
        return Array(buffer[..<got])
    }

    private static func truncated(_ format: PackingFormat) -> StationError {
        StationError(
            "image_truncated",
            "the \(format.rawValue) archive does not end as one: the file is cut off, or was added to",
            remedy: "fetch the file again")
    }

    private static func trailing(_ format: PackingFormat, _ count: String) -> StationError {
        StationError(
            "image_trailing_bytes",
            "behind the end of the \(format.rawValue) archive stand \(count) bytes that do not belong to it",
            remedy: "fetch the file again: it is damaged, or was put together wrongly")
    }
}
