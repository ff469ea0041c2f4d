import StationCore

/// One library's way to unpack one stream, member by member.
protocol StreamCodec: AnyObject {
    /// Moves on: takes from the front of the input, and fills the front of the output; both shrink by what was used.
    /// - Returns: whether a member ended right here, its checksums found right.
    /// - Throws: `image_corrupt`, `image_memory`.
    func step(
        _ input: inout UnsafeRawBufferPointer, _ output: inout UnsafeMutableRawBufferPointer
    ) throws(StationError) -> Bool

    /// Makes ready for the next member.
    /// - Throws: `internal_error`.
    func restart() throws(StationError)

    /// Whether each member so far had a checksum of its contents.
    var isChecked: Bool { get }

    /// How many bytes the member that begins so unpacks to, where it says so.
    func byteCount(head: [UInt8]) -> UInt64?
}

extension StreamCodec {
    func byteCount(head _: [UInt8]) -> UInt64? { nil }

    static func corrupt(_ format: PackingFormat, _ why: String) -> StationError {
        StationError(
            "image_corrupt", "the \(format.rawValue) data are damaged: \(why.printable(limit: 120))",
            remedy: "fetch the file again")
    }

    /// - Parameter limit: in bytes.
    static func needsMemory(_ format: PackingFormat, limit: UInt64) -> StationError {
        StationError(
            "image_memory",
            "to unpack the \(format.rawValue) data takes more than \(Quantity.bytes(limit)) of memory",
            remedy: "unpack it elsewhere, and import what comes out")
    }

    static func unusable(_ format: PackingFormat) -> StationError {
        StationError("internal_error", "the library for \(format.rawValue) cannot be used")
    }
}

extension PackingFormat {
    /// What unpacks a stream; not for archives.
    func codec() throws(StationError) -> any StreamCodec {
        switch self {
        case .gzip: try GzipCodec()
        case .xz: try XZCodec()
        case .zstd: try ZstdCodec()
        case .bzip2: try Bzip2Codec()
        case .lz4: try LZ4Codec()
        case .zip, .tar: throw StationError("internal_error", "\(rawValue) is no stream")
        }
    }
}
