import FoundationEssentials
import Glibc
import StationCore
import StationLinux

/// Detached OpenPGP signatures, by Debian's `gpgv`: which knows no network, and is given its keys here, none of a user's.
struct OpenPGPVerifier {
    /// Where gpgv is; another place is for tests.
    var program = "/usr/bin/gpgv"
    /// Makes a file without a name.
    let makeFile: () throws(StationError) -> UnsealedFile

    /// Blocks.
    /// - Parameters:
    ///   - keyring: public keys, in binary form.
    ///   - message: what is signed, from its beginning.
    /// - Returns: the fingerprint of the key that signed.
    /// - Throws: `key_unknown`, `signature_wrong`, `signature_invalid`, `gpgv_missing`.
    func verify(_ signature: [UInt8], of message: Descriptor, keyring: [UInt8]) throws(StationError) -> String {
        let keys = try file(keyring)
        let signature = try file(signature)
        let report = try file([])
        let null: Descriptor
        let child: ChildProcess
        do {
            null = try Descriptor(opening: "/dev/null", O_RDWR)
            // Paths, because gpgv has no other way; a file without a name is found by its descriptor.
            child = try ChildProcess(
                program,
                [
                    "--homedir", "/nonexistent", "--weak-digest", "SHA1", "--logger-fd", "7", "--status-fd", "6",
                    "--keyring", "/proc/self/fd/3", "/proc/self/fd/4", "/proc/self/fd/5",
                ],
                environment: ["LC_ALL": "C"],
                descriptors: [keys.descriptor, signature.descriptor, message, report.descriptor, null])
        } catch {
            throw StationError(
                "gpgv_missing", "\(program) cannot be run: \(SystemError.text(error.number))",
                remedy: "sudo apt install gpgv")
        }
        let exit = child.wait()
        return try Self.read(try text(of: report.descriptor), isSuccess: exit == .code(0))
    }

    /// Reads what gpgv reports, in the form of GnuPG's `doc/DETAILS`.
    static func read(_ report: String, isSuccess: Bool) throws(StationError) -> String {
        let lines = report.split(separator: "\n").filter { $0.hasPrefix("[GNUPG:] ") }
            .map { $0.dropFirst(9).split(separator: " ").map(String.init) }.filter { !$0.isEmpty }
        func line(_ words: String...) -> [String]? { lines.first { words.contains($0[0]) } }
        if let bad = line("BADSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG") {
            let why = [
                "EXPSIG": "it has expired", "EXPKEYSIG": "its key has expired", "REVKEYSIG": "its key was revoked",
            ]
            throw SignatureError.wrong(
                why[bad[0]] ?? "with the key \((bad.count > 1 ? bad[1] : "").printable(limit: 40))")
        }
        if isSuccess, line("GOODSIG") != nil, let valid = line("VALIDSIG"), valid.count > 1 {
            // The last number is the primary key's fingerprint, where a subkey signed.
            return (valid.count > 10 ? valid[10] : valid[1]).printable(limit: 64).lowercased()
        }
        if let unknown = line("NO_PUBKEY"), unknown.count > 1 {
            throw SignatureError.unknownKey(unknown[1].printable(limit: 40).lowercased())
        }
        guard line("ERRSIG") == nil else { throw SignatureError.wrong("gpgv does not accept its algorithm") }
        throw StationError(
            "signature_invalid", "the signature is neither of usign's nor of OpenPGP's form",
            remedy: "fetch the signature again")
    }

    private func file(_ bytes: [UInt8]) throws(StationError) -> UnsealedFile {
        let file = try makeFile()
        do {
            try bytes.withUnsafeBytes { try file.descriptor.write(all: $0, at: 0) }
        } catch { throw StationError("storage_full", "there is no room for a key: \(error)") }
        return file
    }

    private func text(of file: Descriptor) throws(StationError) -> String {
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        let count = buffer.withUnsafeMutableBytes { (try? file.read(into: $0, at: 0)) ?? 0 }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }
}

/// OpenPGP's armour: base64 between two lines.
enum OpenPGPArmour {
    /// The bytes in all blocks of a file; the file itself where it has none; nil where a block is damaged.
    static func bytes(of file: [UInt8]) -> [UInt8]? {
        let text = String(decoding: file, as: UTF8.self)
        guard text.contains("-----BEGIN PGP ") else { return file }
        var result: [UInt8] = []
        var block: [Substring]?
        // To Swift a carriage return and a line feed are one character.
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: { $0 == "\n" || $0 == "\r\n" }) {
            if line.hasPrefix("-----BEGIN PGP ") {
                block = []
            } else if line.hasPrefix("-----END PGP "), let lines = block {
                // Headers end with an empty line; a line that begins with = is the checksum.
                let body = lines.drop { !$0.isEmpty }.filter { !$0.isEmpty && !$0.hasPrefix("=") }.joined()
                guard let bytes = Data(base64Encoded: body), !bytes.isEmpty else { return nil }
                result += bytes
                block = nil
            } else {
                block?.append(line)
            }
        }
        return block == nil && !result.isEmpty ? result : nil
    }
}
