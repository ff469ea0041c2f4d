import COpenSSL
import FoundationEssentials
package import StationCore

/// A public key of usign and signify: Ed25519, with eight bytes of fingerprint that the maker's tool chose.
package struct UsignKey: Equatable, Sendable {
    /// 16 hexadecimal digits.
    package let fingerprint: String
    fileprivate let key: [UInt8]

    /// Reads a comment line and the base64 of 42 bytes: `Ed`, fingerprint, key.
    /// - Throws: `key_file_invalid`.
    package init(_ file: [UInt8]) throws(StationError) {
        guard let bytes = UsignFile.payload(file), bytes.count == 42, bytes.starts(with: Array("Ed".utf8)) else {
            throw StationError("key_file_invalid", "it is no public key of usign or signify")
        }
        fingerprint = UsignFile.fingerprint(bytes)
        key = Array(bytes[10...])
    }
}

/// A detached signature of usign and signify.
package struct UsignSignature: Equatable, Sendable {
    /// Of the key that made it: 16 hexadecimal digits.
    package let fingerprint: String
    private let signature: [UInt8]

    /// Whether a file looks like one.
    package static func isOne(_ file: [UInt8]) -> Bool { file.starts(with: Array("untrusted comment:".utf8)) }

    /// Reads a comment line and the base64 of 74 bytes: `Ed`, fingerprint, signature.
    /// - Throws: `signature_invalid`.
    package init(_ file: [UInt8]) throws(StationError) {
        guard let bytes = UsignFile.payload(file), bytes.count == 74, bytes.starts(with: Array("Ed".utf8)) else {
            throw StationError(
                "signature_invalid", "the signature is not of usign's form", remedy: "fetch the signature again")
        }
        fingerprint = UsignFile.fingerprint(bytes)
        signature = Array(bytes[10...])
    }

    /// Finds the key, and compares.
    /// - Parameter message: what is signed, whole: Ed25519 reads it twice.
    /// - Returns: the key that signed.
    /// - Throws: `key_unknown`, `signature_wrong`.
    package func verify(
        _ message: UnsafeRawBufferPointer, keys: [UsignKey]
    ) throws(StationError) -> UsignKey {
        // The fingerprint is eight bytes of anybody's choice: two keys may have one, and the right one decides.
        let candidates = keys.filter { $0.fingerprint == fingerprint }
        guard !candidates.isEmpty else { throw SignatureError.unknownKey(fingerprint) }
        guard let key = candidates.first(where: { isMade(by: $0, of: message) }) else {
            throw SignatureError.wrong("with the key \(fingerprint)")
        }
        return key
    }

    private func isMade(by key: UsignKey, of message: UnsafeRawBufferPointer) -> Bool {
        guard let publicKey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nil, key.key, key.key.count),
            let context = EVP_MD_CTX_new()
        else { return false }
        defer {
            EVP_MD_CTX_free(context)
            EVP_PKEY_free(publicKey)
        }
        guard EVP_DigestVerifyInit(context, nil, nil, nil, publicKey) == 1 else { return false }
        let bytes = message.assumingMemoryBound(to: UInt8.self)
        return EVP_DigestVerify(context, signature, signature.count, bytes.baseAddress, bytes.count) == 1
    }
}

/// What goes wrong with any signature.
enum SignatureError {
    static func unknownKey(_ key: String) -> StationError {
        StationError(
            "key_unknown", "the signature was made with the key \(key), which the station does not have",
            remedy: "if you trust that key, root may put its file into /etc/flashing-station/keys")
    }

    static func wrong(_ what: String) -> StationError {
        StationError(
            "signature_wrong",
            "the signature is not right: what it is of was changed, or it is not of this file (\(what))",
            remedy: "fetch file and signature again, and do not use them if it stays so")
    }
}

/// What keys and signatures have in common: an “untrusted comment:” line, and a line of base64.
private enum UsignFile {
    static func payload(_ file: [UInt8]) -> [UInt8]? {
        let lines = file.split(separator: 0x0A, omittingEmptySubsequences: true)
        guard lines.count == 2, UsignSignature.isOne(Array(lines[0])) else { return nil }
        return Data(base64Encoded: Data(lines[1])).map { Array($0) }
    }

    static func fingerprint(_ bytes: [UInt8]) -> String {
        bytes[2..<10].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
