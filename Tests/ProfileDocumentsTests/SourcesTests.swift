import Glibc
import ProfileDocuments
import StationCore
import StationLinux
import Testing

@Suite("Files of profiles")
struct SourcesTests {
    let folder = try? TemporaryFolder()

    private func tree() throws -> TemporaryFolder { try #require(folder) }

    /// Gathers for a profile in `ap.yaml` of the folder, with one file of this source, and an overlay.
    private func gather(
        source: String? = nil, destination: String = "/etc/a", mode: String? = nil, owner: String? = nil,
        overlay: String? = nil,
        file: String = "ap.yaml"
    ) throws -> (overlay: Overlay?, violations: [ProfileViolation]) {
        var profile = try ProfileBench.profile()
        if let source { profile.files = [.init(source: source, destination: destination, mode: mode, owner: owner)] }
        profile.overlayDirectory = overlay
        return ProfileSources.gather(profile, file: try tree().path + "/" + file)
    }

    private func codes(source: String? = nil, overlay: String? = nil, file: String = "ap.yaml") throws -> [String] {
        try gather(source: source, overlay: overlay, file: file).violations.map { "\($0.code) \($0.field)" }
    }

    /// The entries as lines.
    private func listing(_ overlay: Overlay?) -> [String] {
        (overlay?.entries ?? []).map { entry in
            let kind =
                switch entry.content {
                case .directory: "d"
                case .file(let count, _): "f\(count)"
                case .link(let target): "l→\(target)"
                }
            return "\(entry.path) \(kind) \(String(entry.mode, radix: 8)) \(entry.user):\(entry.group)"
        }
    }

    @Test("a profile without files has no tree")
    func none() throws {
        let result = try gather()
        #expect(result.overlay == nil && result.violations.isEmpty)
    }

    @Test("files and overlay make one tree, in which files win")
    func oneTree() throws {
        let tree = try tree()
        try tree.write("one", "12345", mode: 0o664)
        try tree.write("over/etc/a", "overlay", mode: 0o600)
        try tree.write("over/usr/bin/run", "#!/bin/sh\n", mode: 0o775)
        try tree.link("over/etc/b", to: "../usr/bin/run")
        let result = try gather(source: "one", mode: "4750", owner: "nobody", overlay: "over")
        #expect(result.violations.isEmpty)
        #expect(
            listing(result.overlay) == [
                "etc d 755 root:root", "etc/a f5 4750 nobody:root", "etc/b l→../usr/bin/run 777 root:root",
                "usr d 755 root:root",
                "usr/bin d 755 root:root", "usr/bin/run f10 755 root:root",
            ])
        #expect(listing(try gather(source: "one").overlay) == ["etc d 755 root:root", "etc/a f5 644 root:root"])
        #expect(listing(try gather(overlay: "over").overlay)[1] == "etc/a f7 600 root:root")
    }

    @Test("a source is looked for beside the profile, and below the parent of profiles where it begins so")
    func places() throws {
        let tree = try tree()
        try tree.write("repo/profiles/files/a", "in the repository")
        try tree.write("repo/profiles/json/beside", "beside")
        #expect(try codes(source: "profiles/files/a", file: "repo/profiles/ap.yaml") == [])
        #expect(try codes(source: "profiles/files/a", file: "repo/profiles/json/ap.json") == [])
        #expect(try codes(source: "beside", file: "repo/profiles/json/ap.json") == [])
        #expect(try codes(source: "beside", file: "repo/profiles/ap.yaml") == ["source_missing files[0].source"])
        #expect(try codes(source: "files/a", file: "repo/profiles/json/ap.json") == ["source_missing files[0].source"])
        // Nowhere below a directory called profiles: beside the file.
        #expect(try codes(source: "profiles/files/a", file: "repo/ap.yaml") == [])
        #expect(try codes(source: tree.path + "/repo/profiles/files/a", file: "ap.yaml") == [])
    }

    @Test("what is missing, no file, or a link is refused by name")
    func refused() throws {
        let tree = try tree()
        try tree.write("real/a", "x")
        try tree.link("link", to: "real/a")
        try tree.link("dir", to: "real")
        try tree.link("passwd", to: "/etc/passwd")
        mkfifo(tree.path + "/pipe", 0o600)
        #expect(try codes(source: "nothing") == ["source_missing files[0].source"])
        #expect(try codes(source: "real/a/b") == ["source_missing files[0].source"])
        #expect(try codes(source: "real") == ["source_not_file files[0].source"])
        #expect(try codes(source: "link") == ["source_link files[0].source"])
        #expect(try codes(source: "passwd") == ["source_link files[0].source"])
        #expect(try codes(source: "dir/a") == ["source_link files[0].source"])
        #expect(try codes(source: "pipe") == ["source_not_file files[0].source"])
        #expect(try codes(source: "/dev/null") == ["source_not_file files[0].source"])
        #expect(try codes(source: tree.path + "/passwd") == ["source_link files[0].source"])
        #expect(try codes(overlay: "real/a") == ["source_not_directory overlay_dir"])
        #expect(try codes(overlay: "dir") == ["source_not_directory overlay_dir"])
        #expect(try codes(overlay: "nothing") == ["source_missing overlay_dir"])
    }

    @Test("the way out is closed, also to a source that no rule has seen")
    func outside() throws {
        #expect(try codes(source: "../../../../../../etc/passwd") == ["source_outside files[0].source"])
    }

    @Test("an overlay with what is no file, directory or link is refused")
    func devices() throws {
        let tree = try tree()
        try tree.write("over/good", "x")
        mkfifo(tree.path + "/over/pipe", 0o600)
        #expect(try codes(overlay: "over") == ["overlay_entry_invalid overlay_dir"])
        unlink(tree.path + "/over/pipe")
        #expect(try codes(overlay: "over") == [])
        guard geteuid() == 0, mknod(tree.path + "/over/zero", S_IFCHR | 0o600, 0x105) == 0 else { return }
        #expect(try codes(overlay: "over") == ["overlay_entry_invalid overlay_dir"])
    }

    @Test(
        "links stay in the tree",
        arguments: [
            ("b", true), ("../etc/b", true), ("./b", true), ("../../a", false), ("/etc/passwd", false),
            ("../x/../../a", false), ("../../\u{301}a", false), ("/\u{301}a", false), ("a\nb", false),
            (String(repeating: "a", count: 101), false),
        ])
    func links(target: String, isInside: Bool) throws {
        let tree = try tree()
        try tree.folder("over/etc")
        try tree.link("over/etc/link", to: target)
        #expect(try codes(overlay: "over") == (isInside ? [] : ["overlay_link_outside overlay_dir"]))
    }

    @Test("names are told apart by their bytes")
    func composedNames() throws {
        let tree = try tree()
        for name in ["\u{E9}", "e\u{301}", "\u{301}x"] { try tree.write("over/etc/\(name)", "x") }
        #expect(
            try gather(overlay: "over").overlay?.entries.map { Array($0.path.utf8) }
                == ["etc", "etc/e\u{301}", "etc/\u{E9}", "etc/\u{301}x"].map { Array($0.utf8) })
    }

    @Test("names with control characters, and paths that are too long, are refused")
    func names() throws {
        let tree = try tree()
        try tree.write("over/a\nb", "x")
        #expect(try codes(overlay: "over") == ["overlay_name_invalid overlay_dir"])
        try tree.write("long/\(String(repeating: "n", count: 120))", "x")
        #expect(try codes(overlay: "long") == ["overlay_name_invalid overlay_dir"])
    }

    @Test("a file below a file or a link is refused")
    func conflicts() throws {
        let tree = try tree()
        try tree.write("one", "x")
        try tree.folder("over/real")
        try tree.link("over/etc", to: "real")
        #expect(try codes(source: "one", overlay: "over") == ["overlay_conflict files"])
        try tree.folder("other/etc/a")
        #expect(try codes(source: "one", overlay: "other") == ["overlay_conflict files[0].source"])
    }

    @Test("too many files, and too many bytes, are refused")
    func limits() throws {
        let tree = try tree()
        try tree.folder("many")
        for index in 0..<Overlay.Limits.entryCount {
            close(open("\(tree.path)/many/\(index)", O_CREAT | O_WRONLY, 0o644))
        }
        #expect(try codes(overlay: "many") == ["overlay_too_many overlay_dir"])
        let file = try tree.write("large/file", "")
        truncate(file, off_t(Overlay.Limits.byteCount) + 1)
        #expect(try codes(overlay: "large") == ["overlay_too_large overlay_dir"])
        truncate(file, off_t(Overlay.Limits.byteCount))
        #expect(try codes(overlay: "large") == [])
    }

    @Test("violations stand where the profile names the file")
    func positions() throws {
        let tree = try tree()
        let path = try tree.write(
            "ap.yaml",
            DocumentFormat.yaml.write(ProfileBench.document()) + "files:\n  - source: gone\n    destination: /a\n")
        let reading = ProfileFile.read(path)
        let profile = try #require(reading.profile)
        let violation = try #require(
            ProfileSources.gather(profile, file: path, positions: reading.positions).violations.first)
        #expect(
            violation.text.hasPrefix(
                "\(path):9:13: files[0].source: “gone” is not there; it is looked for in \(tree.path)"))
    }

    // MARK: Archive

    private func archive(_ overlay: Overlay) throws -> (bytes: [UInt8], OverlayArchive) {
        let archive = try OverlayArchive(packing: overlay, in: "/tmp")
        var bytes = [UInt8](repeating: 0, count: Int(archive.byteCount) + 1)
        let count = try bytes.withUnsafeMutableBytes { try archive.file.read(into: $0, at: 0) }
        return (Array(bytes[..<count]), archive)
    }

    @Test("packed, a tree is the same bytes wherever it was, and its digest is of paths, modes, owners and content")
    func archives() throws {
        let tree = try tree()
        for name in ["x", "y"] {
            try tree.write("\(name)/etc/banner", "hello")
            try tree.write("\(name)/etc/run", String(repeating: "z", count: 1024), mode: name == "x" ? 0o755 : 0o775)
            try tree.link("\(name)/etc/link", to: "run")
        }
        let x = try archive(try #require(try gather(overlay: "x").overlay))
        let y = try archive(try #require(try gather(overlay: "y").overlay))
        #expect(x.bytes == y.bytes && x.1.sha256 == y.1.sha256 && x.bytes.count == Int(x.1.byteCount))
        #expect(SHA256.digest(of: x.bytes) == x.1.sha256)
        #expect(try OverlayArchive.digest(of: try #require(try gather(overlay: "x").overlay)) == x.1.sha256)
        #expect(try x.1.file.isReadOnly())

        var digests: Set<SHA256Digest> = [x.1.sha256]
        let changes: [() throws -> Void] = [
            { try tree.write("y/etc/banner", "hellO") }, { chmod(tree.path + "/y/etc/banner", 0o600) },
            { rename(tree.path + "/y/etc/banner", tree.path + "/y/etc/bannes") },
            {
                unlink(tree.path + "/y/etc/link"); try tree.link("y/etc/link", to: "bannes")
            }, { try tree.folder("y/empty") },
        ]
        for change in changes {
            try change()
            digests.insert(try OverlayArchive.digest(of: try #require(try gather(overlay: "y").overlay)))
        }
        for owner in [nil, "nobody", "nobody:nogroup"] {
            try tree.write("one", "1")
            digests.insert(try OverlayArchive.digest(of: try #require(try gather(source: "one", owner: owner).overlay)))
        }
        #expect(digests.count == 1 + changes.count + 3)
    }

    @Test("the archive is what tar reads")
    func tar() throws {
        let tree = try tree()
        let deep = (0..<6).map { "\($0)" + String(repeating: "d", count: 30) }.joined(separator: "/")
        try tree.write("over/\(deep)/file", "deep")
        try tree.write("over/etc/banner", "hello", mode: 0o600)
        try tree.link("over/etc/link", to: "banner")
        let packed = try OverlayArchive(packing: try #require(try gather(overlay: "over").overlay), in: "/tmp")
        let out = tree.path + "/out"
        try tree.folder("out")
        let status = system(
            "tar --extract --file=/proc/\(getpid())/fd/\(packed.file.number) --directory=\(out) 2> /dev/null")
        #expect(status == 0)
        #expect(try SmallFile.read("\(out)/\(deep)/file") == Array("deep".utf8))
        #expect(try SmallFile.read("\(out)/etc/link") == Array("hello".utf8))
        #expect(try FileStatus(of: "\(out)/etc/banner").mode == 0o600)
    }

    @Test("a file that changes between looking and packing is not packed")
    func changed() throws {
        let tree = try tree()
        let file = try tree.write("one", "12345")
        for size in [4, 6] as [off_t] {
            let overlay = try #require(try gather(source: "one").overlay)
            truncate(file, size)
            #expect { try OverlayArchive(packing: overlay, in: "/tmp") } throws: {
                ($0 as? StationError)?.code == "source_changed"
            }
            truncate(file, 5)
        }
    }
}
