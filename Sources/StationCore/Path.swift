/// Paths as the kernel reads them: by their bytes. To Swift a slash with a combining mark behind it is one character, and no slash.
package enum Path {
    private static let slash = UInt8(ascii: "/")

    /// The names between its slashes.
    package static func parts(_ path: some StringProtocol, omittingEmpty: Bool = true) -> [String] {
        path.utf8.split(separator: slash, omittingEmptySubsequences: omittingEmpty).map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    package static func isAbsolute(_ path: some StringProtocol) -> Bool { path.utf8.first == slash }

    /// The directory that it is in.
    package static func parent(_ path: String) -> String {
        guard let end = path.utf8.lastIndex(of: slash) else { return "." }
        return end == path.utf8.startIndex ? "/" : String(decoding: path.utf8[..<end], as: UTF8.self)
    }

    /// What of a path is below a directory; nil where it is not.
    package static func below(_ directory: String, _ path: String) -> String? {
        let (head, bytes) = (Array(directory.utf8) + [slash], path.utf8)
        return bytes.starts(with: head) ? String(decoding: bytes.dropFirst(head.count), as: UTF8.self) : nil
    }

    /// Whether a link's target, followed part by part from where the link is, never climbs above its tree.
    /// - Parameter depth: how many directories of the tree the link is in.
    package static func staysInside(_ target: String, depth: Int) -> Bool {
        guard !target.isEmpty, !isAbsolute(target) else { return false }
        var depth = depth
        for part in parts(target) where part != "." {
            depth += part == ".." ? -1 : 1
            if depth < 0 { return false }
        }
        return true
    }
}
