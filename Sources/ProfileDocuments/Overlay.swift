import StationCore
import StationLinux

/// The files that a profile puts into its image: one tree, made of `overlay_dir` and, above it, `files`.
package struct Overlay: Sendable {
    /// One file, directory or link of the tree.
    package struct Entry: Sendable {
        /// In the image, without the slash in front: `etc/banner`.
        package var path: String
        package var content: Content
        /// The permission bits.
        package var mode: UInt32
        /// Names or numbers, as the profile has them.
        package var user = "root"
        package var group = "root"

        var isDirectory: Bool {
            if case .directory = content { return true }
            return false
        }
    }

    package enum Content: Sendable {
        case directory
        /// A regular file: its bytes when it was looked at, and where to read them.
        case file(byteCount: UInt64, Origin)
        /// Where it points, relative, and not out of the tree.
        case link(String)
    }

    /// Where a file's bytes are: a path below an open directory.
    package struct Origin: Sendable {
        var directory: Descriptor
        var path: String
    }

    /// Sorted by the bytes of their paths, so that a directory stands before what is in it.
    package private(set) var entries: [Entry] = []

    /// How large a tree may be.
    package enum Limits {
        package static let entryCount = 10_000
        package static let byteCount: UInt64 = 256 << 20
        /// Of where a link points: what the archive's format has room for.
        package static let linkByteCount = 100
    }

    /// Puts entries in their order and their parents in front of them.
    /// - Parameter entries: by the bytes of their paths.
    init(_ entries: [[UInt8]: Entry]) {
        var all = entries
        for entry in entries.values {
            for parent in Self.parents(of: entry.path) where all[Array(parent.utf8)] == nil {
                all[Array(parent.utf8)] = Entry(path: parent, content: .directory, mode: 0o755)
            }
        }
        self.entries = all.values.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    }

    /// The directories that a path is in, the nearest first.
    static func parents(of path: String) -> [String] {
        Array(sequence(first: path, next: Path.parent).dropFirst().prefix { $0 != "." && $0 != "/" })
    }
}
