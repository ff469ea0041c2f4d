import Glibc
package import StationCore
package import StationLinux

/// The bytes of a job: an image with its patches, filled up with zeros to whole sectors.
package struct ContentSource: Sendable {
    package let content: Content
    private let image: Descriptor

    /// - Parameter image: a regular file, open for reading only, of exactly the content's length.
    /// - Throws: `content_invalid` when it is not.
    package init(content: Content, image: Descriptor) throws(StationError) {
        try content.validate()
        do {
            let status = try image.status()
            guard status.kind == .regular, try image.isReadOnly() else {
                throw StationError("content_invalid", "the image must be a regular file, open for reading only")
            }
            guard status.byteCount == content.byteCount else {
                throw StationError(
                    "content_invalid", "the image has \(status.byteCount) bytes, the job says \(content.byteCount)")
            }
        } catch let error as StationError {
            throw error
        } catch {
            throw StationError("content_invalid", "\(error)")
        }
        self.content = content
        self.image = image
    }

    /// Fills a buffer with the bytes from an offset on; behind the content's end come zeros. Blocks.
    /// - Throws: `SystemError`, with `EIO` when the file is shorter than it was.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) {
        let wanted = offset < content.byteCount ? Int(min(UInt64(buffer.count), content.byteCount - offset)) : 0
        if wanted > 0 {
            let got = try image.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]), at: offset)
            guard got == wanted else { throw SystemError("read", "the image at \(offset + UInt64(got))", number: EIO) }
        }
        if wanted < buffer.count {
            UnsafeMutableRawBufferPointer(rebasing: buffer[wanted...]).initializeMemory(as: UInt8.self, repeating: 0)
        }
        for patch in content.patches {
            let end = patch.offset + UInt64(patch.bytes.count)
            guard patch.offset < offset + UInt64(wanted), end > offset else { continue }
            for (index, byte) in patch.bytes.enumerated() {
                let position = patch.offset + UInt64(index)
                if position >= offset, position < offset + UInt64(wanted) { buffer[Int(position - offset)] = byte }
            }
        }
    }
}
