import Glibc

/// A directory with everything below it.
package enum FileTree {
    /// Deletes it, as far as it goes; links are not followed. Blocks.
    package static func remove(_ path: String) {
        guard let parent = try? Descriptor(opening: path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else {
            unlink(path)
            return
        }
        empty(parent)
        rmdir(path)
    }

    /// What its files take on the disk, in bytes; each hard-linked file counts once for each name. Blocks.
    package static func byteCount(_ path: String) -> UInt64 {
        guard let directory = try? Descriptor(opening: path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { return 0 }
        return byteCount(in: directory)
    }

    private static func byteCount(in directory: Descriptor) -> UInt64 {
        var sum: UInt64 = 0
        for name in names(in: directory) {
            var status = stat()
            guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            sum += UInt64(max(0, status.st_blocks)) * 512
            if status.st_mode & S_IFMT == S_IFDIR, let below = open(name, in: directory) { sum += byteCount(in: below) }
        }
        return sum
    }

    private static func empty(_ directory: Descriptor) {
        for name in names(in: directory) {
            if unlinkat(directory.number, name, 0) == 0 { continue }
            // A directory that its owner may not write into is what a build may leave.
            fchmodat(directory.number, name, 0o700, 0)
            if let below = open(name, in: directory) { empty(below) }
            unlinkat(directory.number, name, AT_REMOVEDIR)
        }
    }

    private static func open(_ name: [CChar], in directory: Descriptor) -> Descriptor? {
        let number = openat(directory.number, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        return number < 0 ? nil : Descriptor(owning: number)
    }

    /// As bytes: a name need not be UTF-8.
    private static func names(in directory: Descriptor) -> [[CChar]] {
        let own = openat(directory.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard own >= 0, let stream = fdopendir(own) else { return [] }
        defer { closedir(stream) }
        var names: [[CChar]] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                bytes.prefix { $0 != 0 }.map { CChar(bitPattern: $0) } + [0]
            }
            if name != [46, 0], name != [46, 46, 0] { names.append(name) }
        }
        return names
    }
}
