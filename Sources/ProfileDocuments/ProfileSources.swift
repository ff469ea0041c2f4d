import CLinux
import Glibc
package import StationCore
import StationLinux

/// Finds what `files[].source` and `overlay_dir` name, as the user who asks, and makes one tree of it.
///
/// A relative path is looked for below one directory, reached by no link and left by none: one that begins with `profiles/`
/// below the parent of the nearest directory called `profiles` that the profile's file is in, any other (and that one, where
/// there is no such directory) below the directory of the file. An absolute path is what it says; its last part may not be a
/// link. Links inside `overlay_dir` are taken as links if they are relative and stay in the tree.
package struct ProfileSources {
    private let file: String
    private let positions: [String: DocumentPosition]
    /// By the bytes of their paths.
    private var entries: [[UInt8]: Overlay.Entry] = [:]
    private var byteCount: UInt64 = 0
    private var violations: [ProfileViolation] = []
    /// One descriptor for each directory that sources are looked for in.
    private var directories: [String: Descriptor] = [:]

    /// Looks at everything and reads no content yet. Blocks.
    /// - Parameters:
    ///   - file: the profile's file.
    ///   - positions: where its fields stand, from its reading.
    /// - Returns: the tree (nil for a profile without files), or everything that is wrong with it.
    package static func gather(
        _ profile: Profile, file: String, positions: [String: DocumentPosition] = [:]
    ) -> (overlay: Overlay?, violations: [ProfileViolation]) {
        var sources = ProfileSources(file: file, positions: positions)
        sources.gather(profile)
        guard sources.violations.isEmpty else { return (nil, sources.violations) }
        let isEmpty = profile.files.isEmpty && profile.overlayDirectory == nil
        return (isEmpty ? nil : Overlay(sources.entries), [])
    }

    private init(file: String, positions: [String: DocumentPosition]) {
        self.file = file
        self.positions = positions
    }

    private mutating func complain(_ code: String, _ field: String, _ message: String, remedy: String = "") {
        var violation = ProfileViolation(code, field: field, message, remedy: remedy, at: positions[field] ?? .start)
        violation.file = file
        violations.append(violation)
    }

    private mutating func gather(_ profile: Profile) {
        if let path = profile.overlayDirectory, let origin = find(path, "overlay_dir") {
            do throws(SystemError) {
                guard try origin.directory.status(beneath: origin.path).kind == .directory else {
                    return complain("source_not_directory", "overlay_dir", "“\(path)” is no directory")
                }
                let top = try Descriptor(beneath: origin.directory, origin.path, O_RDONLY | O_DIRECTORY)
                try walk(top, below: top, "", named: path)
            } catch { complain(error, "overlay_dir", path) }
        }
        for (index, file) in profile.files.enumerated() { add(file, "files[\(index)].source") }
        checkTree(profile.overlayDirectory == nil ? "files" : "overlay_dir")
    }

    // MARK: Where sources are

    /// The directory below which a source is looked for, and its path from there.
    static func place(of source: String, file: String) -> (directory: String, path: String) {
        let isAbsolute = Path.isAbsolute(source)
        let directory = Path.parent(isAbsolute ? source : file)
        if isAbsolute { return (directory, Path.parts(source).last ?? ".") }
        guard source.hasPrefix("profiles/"), let real = FileName.real(directory) else { return (directory, source) }
        let parts = Path.parts(real)
        guard let last = parts.lastIndex(of: "profiles") else { return (directory, source) }
        return ("/" + parts[..<last].joined(separator: "/"), source)
    }

    private mutating func find(_ source: String, _ field: String) -> Overlay.Origin? {
        let place = Self.place(of: source, file: file)
        do throws(SystemError) {
            if let directory = directories[place.directory] {
                return Overlay.Origin(directory: directory, path: place.path)
            }
            let directory = try Descriptor(opening: place.directory, station_o_path | O_DIRECTORY)
            directories[place.directory] = directory
            return Overlay.Origin(directory: directory, path: place.path)
        } catch {
            complain(error, field, source)
            return nil
        }
    }

    private mutating func complain(_ error: SystemError, _ field: String, _ path: String) {
        let text = "“\(path.printable(limit: 200))”"
        switch error.number {
        case ENOENT, ENOTDIR:
            let place = Self.place(of: path, file: file)
            complain(
                "source_missing", field, "\(text) is not there",
                remedy: Path.isAbsolute(path) ? "" : "it is looked for in \(place.directory.printable(limit: 300))")
        case ELOOP:
            complain(
                "source_link", field, "\(text) is, or goes through, a symbolic link", remedy: "name the file itself")
        case EXDEV: complain("source_outside", field, "\(text) leads out of the directory it is looked for in")
        default: complain("source_unreadable", field, "\(text): \(SystemError.text(error.number))")
        }
    }

    // MARK: What they are

    private mutating func add(_ spec: Profile.File, _ field: String) {
        guard let origin = find(spec.source, field) else { return }
        do throws(SystemError) {
            let status = try origin.directory.status(beneath: origin.path)
            guard status.kind == .regular else {
                return complain(
                    status.kind == .link ? "source_link" : "source_not_file", field,
                    "“\(spec.source)” is \(Self.name(status.kind)), and should be a file",
                    remedy: status.kind == .directory ? "whole directories go into overlay_dir" : "")
            }
            // Whether the user may read it shows now, not when half of an import is done.
            _ = try Descriptor(beneath: origin.directory, origin.path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
            let owner = (spec.owner ?? "root:root").split(separator: ":").map(String.init)
            let path = String(spec.destination.dropFirst())
            if let there = entries[Array(path.utf8)], there.isDirectory {
                return complain("overlay_conflict", field, "“\(spec.destination)” is a directory in overlay_dir")
            }
            insert(
                Overlay.Entry(
                    path: path, content: .file(byteCount: status.byteCount, origin),
                    mode: spec.mode.flatMap { UInt32($0, radix: 8) } ?? Self.mode(status.mode),
                    user: owner[0], group: owner.count > 1 ? owner[1] : "root"))
        } catch { complain(error, field, spec.source) }
    }

    /// What others may write is taken away: whether somebody's umask is 002 or 022 does not change an image. So are set-user-ID,
    /// set-group-ID and sticky, which a profile has to ask for in so many words.
    private static func mode(_ mode: UInt32) -> UInt32 { mode & 0o755 }

    private static func name(_ kind: FileStatus.Kind) -> String {
        switch kind {
        case .regular: "a file"
        case .directory: "a directory"
        case .block: "a block device"
        case .link: "a symbolic link"
        case .other: "a device, pipe or socket"
        }
    }

    private mutating func insert(_ entry: Overlay.Entry) {
        guard entries.count < Overlay.Limits.entryCount else { return }
        if case .file(let count, _) = entry.content { byteCount += count }
        entries[Array(entry.path.utf8)] = entry
    }

    /// Takes in what is in one directory of the tree, and below it.
    /// - Parameters:
    ///   - directory: the directory.
    ///   - top: `overlay_dir` itself; origins are told from there, so that no descriptor stays open for each directory.
    ///   - prefix: its path in the tree, with a slash behind it; empty for `top`.
    ///   - overlay: what the profile calls the tree.
    private mutating func walk(
        _ directory: Descriptor, below top: Descriptor, _ prefix: String, named overlay: String
    ) throws(SystemError) {
        for name in try directory.entryNames() where entries.count < Overlay.Limits.entryCount {
            let path = prefix + (name ?? "?")
            let shown = "“\(overlay)/\(path.printable(limit: 200))”"
            guard let name, name.printable() == name, OverlayArchive.fits(path) else {
                complain(
                    "overlay_name_invalid", "overlay_dir",
                    "\(shown) has control characters in its name, or is too long a path")
                continue
            }
            let status = try top.status(beneath: path)
            let mode = Self.mode(status.mode)
            switch status.kind {
            case .directory:
                insert(Overlay.Entry(path: path, content: .directory, mode: mode))
                let inner = try Descriptor(beneath: top, path, O_RDONLY | O_DIRECTORY)
                try walk(inner, below: top, path + "/", named: overlay)
            case .regular:
                do throws(SystemError) {
                    _ = try Descriptor(beneath: top, path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
                } catch {
                    complain("source_unreadable", "overlay_dir", "\(shown): \(SystemError.text(error.number))")
                }
                let origin = Overlay.Origin(directory: top, path: path)
                insert(Overlay.Entry(path: path, content: .file(byteCount: status.byteCount, origin), mode: mode))
            case .link:
                let target = try top.link(beneath: path)
                guard Self.staysInside(target, from: path) else {
                    complain(
                        "overlay_link_outside", "overlay_dir",
                        "\(shown) points out of the tree, to “\(target.printable())”",
                        remedy: "make it relative, such as ../init.d/name")
                    continue
                }
                insert(Overlay.Entry(path: path, content: .link(target), mode: 0o777))
            default: complain("overlay_entry_invalid", "overlay_dir", "\(shown) is \(Self.name(status.kind))")
            }
        }
    }

    /// Whether a link's target, followed part by part from where the link is, never climbs above the tree.
    static func staysInside(_ target: String, from path: String) -> Bool {
        target.utf8.count <= Overlay.Limits.linkByteCount && target.printable(limit: 300) == target
            && Path.staysInside(target, depth: Path.parts(path).count - 1)
    }

    // MARK: The whole

    /// What only the finished tree shows: files below files or links, and its size.
    /// - Parameter field: what a tree that is too large is the fault of.
    private mutating func checkTree(_ field: String) {
        for path in entries.values.map(\.path).sorted() {
            for parent in Overlay.parents(of: path) {
                if let there = entries[Array(parent.utf8)], !there.isDirectory {
                    complain("overlay_conflict", "files", "/\(path) lies below /\(parent), which is no directory")
                    break
                }
            }
        }
        if entries.count >= Overlay.Limits.entryCount {
            complain("overlay_too_many", field, "there are more than \(Overlay.Limits.entryCount - 1) files")
        }
        if byteCount > Overlay.Limits.byteCount {
            complain(
                "overlay_too_large", field,
                "the files have \(Quantity.bytes(byteCount)), and at most \(Quantity.bytes(Overlay.Limits.byteCount)) "
                    + "are allowed")
        }
    }
}
