import StationCore
import StationLinux

/// A copy of bytes that are needed more than once, or in another order than they come: gone with this object.
final class ScratchFile {
    private let file: UnsealedFile
    let byteCount: UInt64
    /// Whether a checksum covered the bytes as they came.
    let isChecked: Bool

    init(_ file: UnsealedFile, byteCount: UInt64, isChecked: Bool) {
        self.file = file
        self.byteCount = byteCount
        self.isChecked = isChecked
    }

    var descriptor: Descriptor { file.descriptor }

    /// Reads from an offset on; fewer bytes only at the end. Blocks.
    /// - Throws: `vault_unusable`.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(StationError) -> Int {
        do {
            return try descriptor.read(into: buffer, at: offset)
        } catch { throw ImageVault.unusable("the library's directory", error) }
    }
}

/// A scratch file, read from its beginning.
final class ScratchStream: OriginStream {
    let file: ScratchFile
    private(set) var bytesRead: UInt64 = 0

    init(_ file: ScratchFile) { self.file = file }

    var byteCount: UInt64? { file.byteCount }
    var isChecked: Bool { file.isChecked }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(StationError) -> Int {
        let count = try file.read(into: buffer, at: bytesRead)
        bytesRead += UInt64(count)
        return count
    }
}
