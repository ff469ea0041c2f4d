import Glibc
import StationCore
import StationLinux

/// What was handed in beside an image file to prove it by, and what comes of that.
struct Voucher {
    /// The longest signature, in bytes.
    private static let signatureLimit = 64 * 1024

    private let conditions: ImportConditions
    private let signature: [UInt8]?
    private let keys: TrustedKeys?
    private let verifier: OpenPGPVerifier
    /// What the list of checksums has for the file.
    private var listed: SHA256Digest?
    let bmap: Bmap?
    /// The key that signed, once a signature was verified.
    private var signer: String?

    /// Reads what was handed in, and verifies a signature of the list of checksums.
    /// - Throws: `companion_unreadable`, `sums_invalid`, `sums_unlisted`, and the codes of bmap files, keys and signatures.
    init(
        _ conditions: ImportConditions, _ companions: [ImportCompanion: Descriptor], keyDirectories: [String],
        makeFile: @escaping () throws(StationError) -> UnsealedFile
    ) throws(StationError) {
        self.conditions = conditions
        verifier = OpenPGPVerifier(makeFile: makeFile)
        bmap = try Self.read(companions, .bmap, limit: Bmap.byteLimit).map { bytes throws(StationError) in
            try Bmap(bytes)
        }
        signature = try Self.read(companions, .signature, limit: Self.signatureLimit)
        keys = signature == nil ? nil : try TrustedKeys(keyDirectories)
        guard let sums = try Self.read(companions, .sums, limit: ChecksumList.byteLimit) else { return }
        guard let fileName = conditions.fileName else {
            throw StationError(
                "file_name_missing", "a list of checksums is of files with names, and the image comes without",
                remedy: "import the file itself, or give its SHA-256 with --sha256")
        }
        if signature != nil {
            let copy = try makeFile()
            do {
                try sums.withUnsafeBytes { try copy.descriptor.write(all: $0, at: 0) }
            } catch { throw StationError("storage_full", "there is no room for the list of checksums: \(error)") }
            try verify(copy.descriptor, byteCount: sums.count)
        }
        listed = try ChecksumList(sums).digest(of: fileName)
    }

    /// Whether the signature is of the image file itself, which is then needed whole before anything is read from it.
    var isOfFile: Bool { signature != nil && listed == nil }

    /// Verifies the signature, of a file that nobody else can write into. Blocks.
    /// - Throws: `key_unknown`, `signature_wrong`, `signature_invalid`, `gpgv_missing`, `key_file_untrusted`.
    mutating func verify(_ message: Descriptor, byteCount: Int) throws(StationError) {
        guard let signature, let keys else { return }
        guard UsignSignature.isOne(signature) else {
            signer = try verifier.verify(
                OpenPGPArmour.bytes(of: signature) ?? [], of: message, keyring: keys.openPGP)
            return
        }
        let mapping = mmap(nil, max(1, byteCount), PROT_READ, MAP_PRIVATE, message.number, 0)
        guard let mapping, mapping != MAP_FAILED else {
            throw StationError("internal_error", "what was signed cannot be read: \(SystemError.text(errno))")
        }
        defer { munmap(mapping, max(1, byteCount)) }
        let bytes = UnsafeRawBufferPointer(start: mapping, count: byteCount)
        signer = try UsignSignature(signature).verify(bytes, keys: keys.usign).fingerprint
    }

    /// Compares the checksums, and says by what the image is vouched for.
    /// - Parameters:
    ///   - file: of the file as it was given.
    ///   - image: of what it unpacks to.
    /// - Throws: `hash_mismatch`.
    func finish(file: SHA256Digest, image: SHA256Digest) throws(StationError) -> ImageVouching {
        var result = ImageVouching(kind: .none)
        if bmap != nil { result = ImageVouching(kind: .bmap, subject: .image) }
        if let expected = conditions.expected {
            guard expected == file || expected == image else {
                let both = file == image ? "\(image)" : "\(image), and the file \(file)"
                throw Self.mismatch("the image has the SHA-256 \(both), not \(expected)")
            }
            result = ImageVouching(kind: .sha256, subject: expected == image ? .image : .file)
        }
        if let listed {
            guard listed == file else {
                throw Self.mismatch("the file has the SHA-256 \(file), and the list of checksums has \(listed)")
            }
            result = ImageVouching(kind: .sha256, subject: .file)
        }
        if let signer { result = ImageVouching(kind: .signature, subject: .file, key: signer) }
        return result
    }

    private static func mismatch(_ message: String) -> StationError {
        StationError("hash_mismatch", message, remedy: "fetch the file again: it is damaged, or another one")
    }

    private static func read(
        _ companions: [ImportCompanion: Descriptor], _ which: ImportCompanion, limit: Int
    ) throws(StationError) -> [UInt8]? {
        guard let file = companions[which] else { return nil }
        do {
            let status = try file.status()
            guard status.kind == .regular, status.byteCount <= limit else {
                throw StationError(
                    "companion_unreadable",
                    "the \(which.rawValue) file is no regular file, or longer than \(limit) bytes")
            }
            // From its beginning, wherever its position is.
            var bytes = [UInt8](repeating: 0, count: Int(status.byteCount))
            let count = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
            return Array(bytes[..<count])
        } catch let error as StationError {
            throw error
        } catch {
            throw StationError("companion_unreadable", "the \(which.rawValue) file cannot be read: \(error)")
        }
    }
}
