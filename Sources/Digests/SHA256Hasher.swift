package import StationCore

/// A SHA-256 that grows with its input.
package final class SHA256Hasher {
    private let digest = MessageDigest(.sha256)

    package init() {}

    package func update(_ bytes: UnsafeRawBufferPointer) { digest.update(bytes) }

    /// Takes in as many zeros as a hole has bytes. Blocks.
    /// - Parameter progress: is told of each MiB or less, how long it was.
    package func update(zeroCount: UInt64, progress: (UInt64) -> Void) {
        var left = zeroCount
        while left > 0 {
            let length = min(left, UInt64(Self.zeros.count))
            Self.zeros.withUnsafeBytes { update(UnsafeRawBufferPointer(rebasing: $0[..<Int(length)])) }
            left -= length
            progress(length)
        }
    }

    private static let zeros = [UInt8](repeating: 0, count: 1 << 20)

    /// The digest of all input; the hasher is used up.
    ///
    /// Nil when OpenSSL refused, which is never equal to a digest that is expected.
    package func finish() -> SHA256Digest? { digest.finish().flatMap { SHA256Digest(bytes: $0) } }

    /// The digest of some bytes.
    package static func digest(_ bytes: UnsafeRawBufferPointer) -> SHA256Digest? {
        let hasher = SHA256Hasher()
        hasher.update(bytes)
        return hasher.finish()
    }
}
