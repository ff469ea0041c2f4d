import Digests
import Glibc
import StationCore
import StationLinux

/// One import: from a file that somebody handed in to bytes in a file of the vault that has no name yet.
struct ImageImport {
    /// Packings in packings: `.img.gz` in a zip is two.
    private static let depthLimit = 4
    /// Once an image is as large as `ratioGrace`, it may be so many times as large as its file. bzip2, xz and zstd pack
    /// zeros so well that an honest image of a card with nothing on it is large too; this one is none.
    private static let ratioLimit: UInt64 = 100_000
    private static let ratioGrace: UInt64 = 1 << 30
    private static let pieceByteCount = 1 << 20

    private let conditions: ImportConditions
    private let source: ImageSource
    private let progress: ImportProgressTeller
    private let makeFile: () throws(StationError) -> UnsealedFile
    private var room: VaultRoom
    private var voucher: Voucher
    /// What is read now, for the progress.
    private var origin: any OriginStream
    private var formats: [PackingFormat] = []
    private var step = ImportStep.reading

    init(
        _ conditions: ImportConditions, source: ImageSource, companions: [ImportCompanion: Descriptor],
        keyDirectories: [String], room: VaultRoom, progress: ImportProgressTeller,
        makeFile: @escaping () throws(StationError) -> UnsealedFile
    ) throws(StationError) {
        self.conditions = conditions
        self.source = source
        self.room = room
        self.progress = progress
        self.makeFile = makeFile
        origin = source
        voucher = try Voucher(conditions, companions, keyDirectories: keyDirectories, makeFile: makeFile)
    }

    /// What an import yields, not sealed yet.
    struct Product {
        var file: UnsealedFile
        var sha256: SHA256Digest
        var byteCount: UInt64
        var origin: ImageOrigin
    }

    /// Reads everything, to the end. Blocks.
    mutating func run() throws(StationError) -> Product {
        var start: any ByteStream = source
        if voucher.isOfFile {
            let copy = try copyAside(source)
            try voucher.verify(copy.descriptor, byteCount: Int(copy.byteCount))
            let stream = ScratchStream(copy)
            (start, origin) = (stream, stream)
        }
        let stream = try unpack(start)
        do {
            try ImageHead.check(stream.head, isRaw: conditions.isRaw)
        } catch {
            // What is unpacked from damaged data looks like anything, and its checksum comes later: then that is what is wrong.
            try readToEnd(stream)
            throw error
        }
        if let byteCount = stream.byteCount { try room.check(byteCount) }
        step = .reading
        let file = try makeFile()
        let hasher = SHA256Hasher()
        let byteCount = try copy(stream, into: file, hasher, voucher.bmap.map { BmapCheck($0) })
        guard let sha256 = hasher.finish() else { throw noDigest }
        let vouching = try voucher.finish(file: try source.finish(), image: sha256)
        let container = formats.isEmpty ? ImageOrigin.rawContainer : formats.map(\.rawValue).joined(separator: " › ")
        return Product(
            file: file, sha256: sha256, byteCount: byteCount,
            origin: ImageOrigin(
                fileName: conditions.fileName, container: container, isChecked: stream.isChecked, vouching: vouching))
    }

    /// Goes through the packings, from the outside in.
    private mutating func unpack(_ start: any ByteStream) throws(StationError) -> PeekedStream {
        var current = start
        var member = conditions.member
        while true {
            let stream = try PeekedStream(current, headByteCount: ImageHead.byteCount)
            guard let format = PackingFormat(head: stream.head) else {
                try ForeignFormat.refuse(stream.head)
                if let member {
                    throw StationError(
                        "member_unknown", "there is no archive with a member “\(member.printable(limit: 120))”",
                        remedy: "leave out --member")
                }
                return stream
            }
            guard formats.count < Self.depthLimit else {
                throw StationError(
                    "image_bomb", "there are packings in packings, more than \(Self.depthLimit) deep",
                    remedy: "unpack it elsewhere, if it is an image after all")
            }
            formats.append(format)
            guard format.isArchive else {
                current = try PackedStream(stream, format)
                continue
            }
            // A copy that nothing was taken out of yet need not be copied again.
            let file: ScratchFile
            if let copied = current as? ScratchStream { file = copied.file } else { file = try copyAside(stream) }
            let archive = try ArchiveFile(file, format)
            let chosen = try MemberChoice.choose(
                from: try archive.members(), named: member, isRaw: conditions.isRaw)
            member = nil
            let opened = try archive.open(chosen)
            (current, origin) = (opened, opened)
        }
    }

    private mutating func copyAside(_ stream: any ByteStream) throws(StationError) -> ScratchFile {
        step = .copying
        defer { step = .reading }
        if let byteCount = stream.byteCount { try room.check(byteCount) }
        let file = try makeFile()
        let byteCount = try copy(stream, into: file)
        return ScratchFile(file, byteCount: byteCount, isChecked: stream.isChecked)
    }

    /// Copies a stream to its end. Blocks.
    /// - Parameters:
    ///   - hasher: gets all bytes.
    ///   - check: what they must be.
    /// - Returns: how many bytes it had.
    private mutating func copy(
        _ stream: any ByteStream, into file: UnsealedFile, _ hasher: SHA256Hasher? = nil, _ check: BmapCheck? = nil
    ) throws(StationError) -> UInt64 {
        let sink = ImageSink(file, room: room, total: stream.byteCount, hasher, check)
        defer { room = sink.room }
        var done: UInt64 = 0
        try PieceRelay.run(into: sink) { buffer throws(StationError) in
            try source.checkStop()
            let count = try stream.read(into: buffer)
            done += UInt64(count)
            try checkRatio(done)
            progress.tell(step, origin.bytesRead, origin is ArchiveMemberStream ? nil : origin.byteCount)
            return count
        }
        return done
    }

    private func readToEnd(_ stream: any ByteStream) throws(StationError) {
        guard !formats.isEmpty else { return }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceByteCount, alignment: 16)
        defer { buffer.deallocate() }
        var done: UInt64 = 0
        while done <= room.limit {
            try source.checkStop()
            let count = try stream.read(into: buffer)
            done += UInt64(count)
            try checkRatio(done)
            if count < buffer.count { return }
        }
    }

    private func checkRatio(_ byteCount: UInt64) throws(StationError) {
        guard byteCount > Self.ratioGrace, byteCount / max(1, source.bytesRead) > Self.ratioLimit else { return }
        throw StationError(
            "image_bomb", "the file unpacks to more than \(Self.ratioLimit) times its size",
            remedy: "unpack it elsewhere, if it is an image after all")
    }
}

/// Tells how far an import is: with the first bytes, at each new step, and else so often that somebody can watch it.
final class ImportProgressTeller {
    /// At most so often, in seconds.
    static let interval = 0.25

    private let clock: () -> Double
    private let send: (ImportStep, UInt64, UInt64?) -> Void
    private var last: (step: ImportStep, time: Double)?

    init(clock: @escaping () -> Double, send: @escaping (ImportStep, UInt64, UInt64?) -> Void) {
        self.clock = clock
        self.send = send
    }

    func tell(_ step: ImportStep, _ bytesDone: UInt64, _ bytesTotal: UInt64?) {
        let now = clock()
        if let last, last.step == step, now - last.time < Self.interval { return }
        last = (step, now)
        send(step, bytesDone, bytesTotal)
    }
}
