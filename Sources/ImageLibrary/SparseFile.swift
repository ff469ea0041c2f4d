import Glibc
import StationCore
import StationLinux

/// Writes a file from its beginning and leaves holes where it is zero: they take neither room nor time, and read as zeros.
struct SparseFile {
    /// What a hole is made of, in bytes: the block of the usual file systems.
    private static let blockByteCount = 4096
    private static let zeros = [UInt8](repeating: 0, count: blockByteCount)

    let descriptor: Descriptor
    /// How long the file is so far.
    private(set) var byteCount: UInt64 = 0
    /// How many of its bytes are no holes.
    private(set) var storedByteCount: UInt64 = 0

    init(_ descriptor: Descriptor) { self.descriptor = descriptor }

    /// Appends bytes. Blocks.
    mutating func append(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        var start = 0
        while start < bytes.count {
            let isHole = isZeroBlock(bytes, at: start)
            var end = start
            while end < bytes.count, isZeroBlock(bytes, at: end) == isHole { end = blockEnd(behind: end, bytes.count) }
            if !isHole {
                let run = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
                try descriptor.write(all: run, at: byteCount + UInt64(start))
                storedByteCount += UInt64(run.count)
            }
            start = end
        }
        byteCount += UInt64(bytes.count)
    }

    /// Gives the file its length, which it may not have where it ends with a hole.
    func finish() throws(SystemError) {
        _ = try retrying("ftruncate", "descriptor \(descriptor.number)") {
            ftruncate(descriptor.number, off_t(byteCount))
        }
    }

    private func blockEnd(behind start: Int, _ count: Int) -> Int {
        let offset = Int(byteCount % UInt64(Self.blockByteCount)) + start
        return min(count, start + Self.blockByteCount - offset % Self.blockByteCount)
    }

    private func isZeroBlock(_ bytes: UnsafeRawBufferPointer, at start: Int) -> Bool {
        guard let base = bytes.baseAddress else { return false }
        return memcmp(base + start, Self.zeros, blockEnd(behind: start, bytes.count) - start) == 0
    }
}
