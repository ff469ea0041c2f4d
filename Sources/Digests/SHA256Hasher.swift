package import StationCore

/// A SHA-256 that grows with its input.
package final class SHA256Hasher {
    private let digest = MessageDigest(.sha256)

    package init() {}

    package func update(_ bytes: UnsafeRawBufferPointer) { digest.update(bytes) }

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
