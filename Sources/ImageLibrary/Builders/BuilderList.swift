import Glibc
import StationCore
import StationLinux

/// What a server's signed list of checksums says of an Image Builder.
struct BuilderList {
    var archiveName: String
    var sha256: SHA256Digest
    var vouching: ImageVouching
    var warnings: [StationError]

    private static let signatureLimit = 64 * 1024

    /// Fetches the list and its signature from one mirror, and verifies.
    /// - Throws: what `Download` does; `sums_invalid`, `builder_unlisted`, `key_unknown`, `signature_wrong`,
    ///   `signature_invalid`, `signature_missing`, `key_file_untrusted`.
    static func fetch(
        _ request: BuilderRequest, download: Download, keyDirectories: [String],
        makeFile: @escaping () throws(StationError) -> UnsealedFile
    ) throws(StationError) -> BuilderList {
        let triple = request.triple
        let text: [UInt8]
        let mirror: String
        do {
            (text, mirror) = try download.smallFile(
                "\(triple.serverPath)/sha256sums", limit: ChecksumList.byteLimit)
        } catch  where error.code == "download_missing" {
            throw StationError(
                "builder_unknown", "there is no Image Builder \(triple): \(error.message)",
                remedy: "look up release, target and subtarget of the device at openwrt.org/toh")
        }
        var warnings: [StationError] = []
        var vouching = ImageVouching(kind: .sha256, subject: .file)
        if request.source.signaturePolicy != .off {
            do throws(StationError) {
                let signer = try verify(
                    text, of: triple, from: mirror, download: download, keyDirectories: keyDirectories,
                    makeFile: makeFile)
                vouching = ImageVouching(kind: .signature, subject: .file, key: signer)
            } catch {
                // What is wrong is never good; what is only missing may be, where root says so.
                guard request.source.signaturePolicy == .warn,
                    ["key_unknown", "signature_missing"].contains(error.code)
                else { throw error }
                warnings.append(error)
            }
        }
        let list = try ChecksumList(text)
        let names = list.digests.keys.filter { $0.hasPrefix("\(triple.archiveStem).tar") && !$0.contains("/") }
        guard let name = names.min(), let sha256 = list.digests[name] else {
            throw StationError(
                "builder_unlisted", "the list of checksums of \(triple) has no “\(triple.archiveStem).tar.…”",
                remedy: "this release has no Image Builder for that target; see its directory on the server")
        }
        return BuilderList(archiveName: name, sha256: sha256, vouching: vouching, warnings: warnings)
    }

    /// - Returns: the key that signed.
    private static func verify(
        _ text: [UInt8], of triple: BuilderTriple, from mirror: String, download: Download, keyDirectories: [String],
        makeFile: @escaping () throws(StationError) -> UnsealedFile
    ) throws(StationError) -> String {
        let keys = try TrustedKeys(keyDirectories)
        // From the mirror that the list came from: another may be a day ahead.
        if let signature = try optional(download, "\(triple.serverPath)/sha256sums.sig", mirror) {
            let signature = try UsignSignature(signature)
            let result: Result<UsignKey, StationError> = text.withUnsafeBytes { bytes in
                do throws(StationError) {
                    return .success(try signature.verify(bytes, keys: keys.usign))
                } catch { return .failure(error) }
            }
            switch result {
            case .success(let key): return key.fingerprint
            case .failure(let error):
                // Whoever has OpenWrt's OpenPGP key only may still know who signed.
                guard error.code == "key_unknown", !keys.openPGP.isEmpty else { throw error }
            }
        }
        guard let signature = try optional(download, "\(triple.serverPath)/sha256sums.asc", mirror) else {
            throw StationError(
                "signature_missing", "the server has no signature of the list of checksums of \(triple)",
                remedy: "use another mirror; SignaturePolicy=warn under [ImageBuilder] would take it unsigned")
        }
        let file = try makeFile()
        do {
            try text.withUnsafeBytes { try file.descriptor.write(all: $0, at: 0) }
        } catch { throw StationError("storage_full", "there is no room for the list of checksums: \(error)") }
        return try OpenPGPVerifier(makeFile: makeFile).verify(
            OpenPGPArmour.bytes(of: signature) ?? [], of: file.descriptor, keyring: keys.openPGP)
    }

    private static func optional(_ download: Download, _ path: String, _ mirror: String) throws(StationError)
        -> [UInt8]?
    {
        do {
            return try download.smallFile(path, limit: signatureLimit, mirrors: [mirror]).0
        } catch {
            if error.code == "download_missing" { return nil }
            throw error
        }
    }
}
