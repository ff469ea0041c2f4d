package import StationCore

/// A list of checksums as `sha256sum` writes it: `<64 hexadecimal digits> *<name>`, or with two spaces, a line each.
package struct ChecksumList: Equatable, Sendable {
    /// The longest list that is read, in bytes: that of OpenWrt's largest target has 170 kB.
    package static let byteLimit = 4 << 20

    package let digests: [String: SHA256Digest]

    /// - Throws: `sums_invalid`, naming the first line that is wrong.
    package init(_ text: [UInt8]) throws(StationError) {
        var digests: [String: SHA256Digest] = [:]
        for (index, line) in text.split(separator: 0x0A, omittingEmptySubsequences: true).enumerated() {
            let (name, digest) = try Self.entry(String(decoding: line, as: UTF8.self), number: index + 1)
            guard digests[name] == nil || digests[name] == digest else {
                throw Self.invalid(index + 1, "“\(name.printable(limit: 80))” is there twice, with two checksums")
            }
            digests[name] = digest
        }
        guard !digests.isEmpty else { throw StationError("sums_invalid", "the list of checksums is empty") }
        self.digests = digests
    }

    /// The checksum of the file of that name.
    /// - Throws: `sums_unlisted`.
    package func digest(of name: String) throws(StationError) -> SHA256Digest {
        if let digest = digests[name] { return digest }
        let near = name.nearest(in: digests.keys.sorted()).map { "; the nearest is \($0.printable(limit: 80))" } ?? ""
        throw StationError(
            "sums_unlisted", "the list of checksums has no “\(name.printable(limit: 120))”\(near)",
            remedy: "is it the list of that release and target? The file must have its original name")
    }

    private static func entry(_ line: String, number: Int) throws(StationError) -> (String, SHA256Digest) {
        let bytes = Array(line.utf8)
        guard bytes.count > 66, bytes[64] == 0x20, bytes[65] == 0x2A || bytes[65] == 0x20,
            let digest = SHA256Digest(String(decoding: bytes[..<64], as: UTF8.self).lowercased())
        else { throw invalid(number, "it is not “<64 hexadecimal digits> *<name>”") }
        let name = String(decoding: bytes[66...], as: UTF8.self)
        let parts = Path.parts(name, omittingEmpty: false)
        guard !Path.isAbsolute(name), !parts.contains(".."), !parts.contains("") else {
            throw invalid(number, "“\(name.printable(limit: 80))” is a name that leads elsewhere")
        }
        guard !name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            throw invalid(number, "its name has control characters")
        }
        return (name, digest)
    }

    private static func invalid(_ line: Int, _ why: String) -> StationError {
        StationError(
            "sums_invalid", "line \(line) of the list of checksums: \(why)", remedy: "fetch the list again")
    }
}
