import Glibc

/// A directory with everything below it, however deep and whatever its modes: what a build leaves may be hostile.
/// Neither fts(3) nor rm(1) goes into a directory that its owner may not read or write into.
package enum FileTree {
    /// So many levels are counted; what goes deeper is none of a builder's, a profile's or an image's.
    private static let depthLimit = 128

    /// Deletes it, as far as it goes; links are not followed, and nothing is changed but what is below. Blocks.
    package static func remove(_ path: String) {
        let name = path.utf8CString.map { $0 }
        guard unlink(path) != 0, isDirectory(name, in: AT_FDCWD) else { return }
        makeOurs(name, in: AT_FDCWD)
        if let directory = open(name, in: AT_FDCWD) { empty(directory) }
        rmdir(path)
    }

    /// What its files take on the disk, in bytes; each hard-linked file counts once for each name. Blocks.
    /// - Returns: `isWhole` is false where something could not be looked at: a directory that its owner may not read, or one that is
    ///   too deep.
    package static func size(_ path: String) -> (byteCount: UInt64, isWhole: Bool) {
        var size = (byteCount: UInt64(0), isWhole: true)
        let name = path.utf8CString.map { $0 }
        if isDirectory(name, in: AT_FDCWD) { add(name, in: AT_FDCWD, depth: 0, to: &size) }
        return size
    }

    /// The same as far as it can be looked at.
    package static func byteCount(_ path: String) -> UInt64 { size(path).byteCount }

    private static func add(
        _ name: [CChar], in parent: Int32, depth: Int, to size: inout (byteCount: UInt64, isWhole: Bool)
    ) {
        guard depth < depthLimit, let directory = open(name, in: parent) else {
            // What has gone meanwhile, or become something else, is nothing that is hidden.
            if depth >= depthLimit || ![ENOENT, ENOTDIR, ELOOP].contains(errno) { size.isWhole = false }
            return
        }
        for name in names(in: directory) {
            var status = stat()
            guard fstatat(directory.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            size.byteCount += UInt64(max(0, status.st_blocks)) * 512
            if status.st_mode & S_IFMT == S_IFDIR { add(name, in: directory.number, depth: depth + 1, to: &size) }
        }
    }

    /// Two descriptors do for a tree of any depth: what is two levels down moves up by one before its directory goes.
    private static func empty(_ directory: Descriptor) {
        var serial = 0
        var isGettingOn = true
        while isGettingOn {
            isGettingOn = false
            for name in names(in: directory) {
                if removeEntry(name, in: directory.number) {
                    isGettingOn = true
                    continue
                }
                guard let below = open(name, in: directory.number) else { continue }
                for inner in names(in: below) {
                    let isGone =
                        removeEntry(inner, in: below.number) || move(inner, from: below, to: directory, &serial)
                    isGettingOn = isGettingOn || isGone
                }
                if unlinkat(directory.number, name, AT_REMOVEDIR) == 0 { isGettingOn = true }
            }
        }
    }

    /// Deletes a file, or a directory with nothing in it; any other directory can be gone into after it.
    private static func removeEntry(_ name: [CChar], in directory: Int32) -> Bool {
        if unlinkat(directory, name, 0) == 0 { return true }
        guard isDirectory(name, in: directory) else { return false }
        makeOurs(name, in: directory)
        return unlinkat(directory, name, AT_REMOVEDIR) == 0
    }

    private static func move(
        _ name: [CChar], from: Descriptor, to target: Descriptor, _ serial: inout Int
    ) -> Bool {
        while true {
            serial += 1
            if renameat(from.number, name, target.number, ".removed-\(serial)") == 0 { return true }
            // A name that is taken already.
            guard [EEXIST, ENOTEMPTY, ENOTDIR].contains(errno) else { return false }
        }
    }

    private static func isDirectory(_ name: [CChar], in directory: Int32) -> Bool {
        var status = stat()
        return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// A directory that its owner may not write into is what a build may leave; a link in its place is not followed.
    private static func makeOurs(_ name: [CChar], in directory: Int32) {
        _ = fchmodat(directory, name, 0o700, AT_SYMLINK_NOFOLLOW)
    }

    private static func open(_ name: [CChar], in directory: Int32) -> Descriptor? {
        let number = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
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
