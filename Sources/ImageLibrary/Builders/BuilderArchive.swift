import Glibc
import StationCore
import StationLinux

/// Unpacks an Image Builder's archive: libarchive reads the tar and makes the files, our own streams unpack what it is packed in,
/// for libarchive's take damaged ones for good.
///
/// Its checksum was right already, and still nothing in it can leave the directory that it is unpacked into.
struct BuilderArchive {
    /// The newest with all packages has some ten thousand.
    static let memberLimit = 500_000
    static let pathLimit = 1024

    let source: ImageSource
    /// What it may take unpacked.
    let byteLimit: UInt64
    let progress: BuildProgressTeller

    /// Unpacks what is below the archive's one directory. Blocks.
    /// - Parameter directory: empty, and nobody else's.
    /// - Throws: `builder_archive_invalid`, `image_truncated`, `image_corrupt`, `image_trailing_bytes`, `storage_full`,
    ///   `import_stopped`.
    func unpack(into directory: String) throws(StationError) {
        let head = try PeekedStream(source, headByteCount: PackingFormat.headByteCount)
        // By what it is, not by what it is called: one that is called .tar.xz and is gzip exists.
        let stream: any ByteStream
        switch PackingFormat(head: head.head) {
        case .tar?: stream = head
        case .zip?, nil: throw Self.invalid("it is packed in nothing that is known")
        case let format?: stream = try PackedStream(head, format)
        }
        let root = try TarExtraction.realPath(directory)
        try TarExtraction(
            stream, root: root, rules: .builder, byteLimit: byteLimit,
            progress: { progress.tell(.unpacking, source.bytesRead, source.byteCount) }
        ).run()
    }

    static func invalid(_ why: String) -> StationError {
        StationError(
            "builder_archive_invalid", "the Image Builder's archive is not one: \(why)",
            remedy: "ask whoever runs that mirror; the official ones are at downloads.openwrt.org")
    }
}
