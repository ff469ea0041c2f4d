import COpenSSL

/// A digest that grows with its input, by OpenSSL, which uses the CPU's instructions for it.
package final class MessageDigest {
    package enum Algorithm: String, Sendable {
        case sha256
        /// For what others made long ago; it tells damage, and says nothing against an attacker.
        case sha1
    }

    private let context: OpaquePointer?

    package init(_ algorithm: Algorithm) {
        context = EVP_MD_CTX_new()
        EVP_DigestInit_ex(context, algorithm == .sha256 ? EVP_sha256() : EVP_sha1(), nil)
    }

    deinit { EVP_MD_CTX_free(context) }

    package func update(_ bytes: UnsafeRawBufferPointer) {
        EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    }

    /// The digest of all input; the object is used up. Nil when OpenSSL refused.
    package func finish() -> [UInt8]? {
        var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var length: UInt32 = 0
        guard EVP_DigestFinal_ex(context, &digest, &length) == 1, length > 0 else { return nil }
        return Array(digest[..<Int(length)])
    }
}
