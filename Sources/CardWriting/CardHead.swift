import Digests
package import StationCore

/// The first bytes of a card, by which it is known again when contact was lost for a moment.
package enum CardHead {
    /// How many bytes count.
    package static let byteCount = 64 * 1024

    /// Their SHA-256.
    package static func fingerprint(_ bytes: UnsafeRawBufferPointer) -> SHA256Digest? {
        SHA256Hasher.digest(UnsafeRawBufferPointer(rebasing: bytes.prefix(byteCount)))
    }
}
