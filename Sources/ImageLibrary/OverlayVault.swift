import Glibc
package import StationCore
package import StationLinux

extension ImageVault {
    /// The largest archive of a profile's files, in bytes: files of 256 MiB, and their headers.
    package static let overlayByteLimit: UInt64 = (256 << 20) + (16 << 20)

    /// Where the archive of a profile's files is, or would be.
    package func overlayPath(of sha256: SHA256Digest) -> String { "\(directory)/\(sha256).overlay.tar" }

    /// Copies the archive of a profile's files into the vault, checks it, and seals it. Blocks.
    /// - Parameters:
    ///   - source: a regular file.
    ///   - stop: as for `importImage`.
    /// - Throws: `overlay_invalid`, `hash_mismatch`, and what `importImage` throws of source, room and vault.
    package func importOverlay(
        from source: Descriptor, expected: SHA256Digest, stop: Descriptor? = nil
    ) throws(StationError) -> UInt64 {
        let source = try ImageSource(source, stop: stop)
        guard let byteCount = source.byteCount, byteCount <= Self.overlayByteLimit else {
            throw StationError(
                "overlay_invalid",
                "the archive is no regular file, or larger than \(Quantity.bytes(Self.overlayByteLimit))")
        }
        let file = try UnsealedFile(in: directory, isNamed: false)
        var check = OverlayCheck()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var done: UInt64 = 0
        while true {
            let count = try source.read(into: buffer)
            if count == 0 { break }
            let chunk = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            try check.take(chunk)
            do {
                try file.descriptor.write(all: chunk)
            } catch { throw Self.unusable(directory, error) }
            done += UInt64(count)
        }
        try check.finish()
        let sha256 = try source.finish()
        guard sha256 == expected else {
            throw StationError(
                "hash_mismatch", "the archive has the SHA-256 \(sha256), not \(expected)",
                remedy: "import the profile again")
        }
        try source.checkStop()
        do {
            try file.seal(as: overlayPath(of: sha256), groupID: groupID)
        } catch { throw Self.unusable(directory, error) }
        return done
    }
}
