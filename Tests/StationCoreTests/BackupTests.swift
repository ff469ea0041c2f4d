import StationCore
import Testing

@Suite("backup: what may be in one")
struct BackupTests {
    private static let sha = String(repeating: "ab", count: 32)
    private static let build = String(repeating: "c", count: 32)

    private static func file(_ path: String, _ byteCount: UInt64 = 1) -> BackupManifest.Member {
        BackupManifest.Member(path: path, kind: .file, byteCount: byteCount, sha256: SHA256Digest(sha))
    }

    private static func directory(_ path: String) -> BackupManifest.Member {
        BackupManifest.Member(path: path, kind: .directory)
    }

    /// The least that a backup has, and what a test adds.
    private static func manifest(_ more: [BackupManifest.Member] = []) -> BackupManifest {
        BackupManifest(
            stationVersion: "1", hostName: "h", createdAt: 1, wasClockSynchronised: true,
            hasBuilders: true,
            store: StoreSummary(
                schemaVersion: 1, imageCount: 0, profileCount: 0, buildCount: 0, jobCount: 0, cardCount: 0, byteCount: 1
            ),
            slotCount: 0,
            members: [
                directory("config"), directory("state"), directory("state/store"), file("state/store/station.db"),
            ] + more)
    }

    private static func code(_ manifest: BackupManifest) -> String? {
        do {
            try manifest.check()
            return nil
        } catch { return error.code }
    }

    @Test("takes what a station has")
    func good() {
        let all = [
            Self.directory("config/slots.d"), Self.file("config/slots.d/slot1.slot"), Self.file("config/station.conf"),
            Self.directory("state/images"), Self.file("state/images/\(Self.sha).img"),
            Self.file("state/images/\(Self.sha).overlay.tar"), Self.directory("state/builds"),
            Self.directory("state/builds/\(Self.build)"), Self.file("state/builds/\(Self.build)/log"),
            Self.directory("state/builds/.local-key"), Self.file("state/builds/.local-key/key-build"),
            Self.directory("state/builders"), Self.directory("state/builders/\(Self.sha)"),
            Self.directory("state/builders/\(Self.sha)/tree"),
            BackupManifest.Member(path: "state/builders/\(Self.sha)/tree/x", kind: .link, target: "../builder.json"),
        ]
        #expect(Self.code(Self.manifest(all)) == nil)
    }

    @Test(
        "refuses every other path",
        arguments: [
            "", "/", "/config", "config/", "config//x", "config/../x", "config/./x", "../x", "..", ".", "etc/passwd",
            "state/x",
            "state/store/station.db-wal", "state/store/x/y", "state/images/x", "state/images/.import-1.part",
            "state/images/\(sha).img/x", "state/builds/x", "state/builds/.\(build).partial", "state/builders/.lock",
            "config/\u{0}x", "config/../\u{301}evil", "config/../\u{200D}evil", "/\u{301}evil", "manifest.json",
            String(repeating: "config/", count: 200) + "x",
        ])
    func bad(path: String) {
        #expect(Self.code(Self.manifest([Self.file(path)])) == "backup_member")
    }

    @Test(
        "takes a link only within its own build or Image Builder",
        arguments: [
            ("state/builders/\(sha)/tree/a", "b", true), ("state/builders/\(sha)/tree/a", "../b", true),
            ("state/builders/\(sha)/tree/a", "./../tree/b", true), ("state/builders/\(sha)/tree/a", "../../b", false),
            ("state/builders/\(sha)/tree/a", "/usr/bin/python3", true), ("state/builders/\(sha)", "/usr", false),
            ("state/builders/\(sha)/tree/a", "", false), ("state/builders/\(sha)/tree/a", "../../\u{301}b", false),
            ("state/images/\(sha).img", "/\u{301}", false),
            ("state/builders/\(sha)/tree/a", "../../\(sha)/b", false), ("state/builders/\(sha)", "x", false),
            ("state/images/\(sha).img", "x", false), ("config/slots.d", "x", false),
            ("state/store/station.db", "x", false),
        ])
    func links(path: String, target: String, isGood: Bool) {
        #expect(BackupArea.staysInside(path, target: target) || !isGood)
        #expect(!BackupArea.staysInside("state/builds/\(Self.build)/a", target: "/etc/shadow"))
        var manifest = Self.manifest([Self.directory("state/builders"), Self.directory("state/builders/\(Self.sha)")])
        manifest.members += [Self.directory("state/builders/\(Self.sha)/tree"), Self.directory("state/images")]
        manifest.members.removeAll { $0.path == path }
        manifest.members.append(BackupManifest.Member(path: path, kind: .link, target: target))
        #expect((Self.code(manifest) == nil) == isGood)
    }

    @Test("names are told apart by their bytes")
    func names() {
        let (one, other) = ("config/\u{E9}", "config/e\u{301}")
        #expect(one == other, "else this test proves nothing")
        #expect(Self.code(Self.manifest([Self.file(one), Self.file(other), Self.file("config/\u{301}x")])) == nil)
        #expect(Self.code(Self.manifest([Self.directory(one), Self.file("\(other)/x")])) == "backup_member")
        #expect(Self.code(Self.manifest([Self.directory(one), Self.file("\(one)/x")])) == nil)
    }

    @Test("refuses what is there twice, stands in no directory, does not add up, or is of another form")
    func form() {
        #expect(Self.code(Self.manifest([Self.file("config/a"), Self.file("config/a")])) == "backup_member")
        #expect(Self.code(Self.manifest([Self.file("config/a/b")])) == "backup_member")
        #expect(Self.code(Self.manifest([Self.file("config/a"), Self.file("config/a/b")])) == "backup_member")
        var other = Self.manifest()
        other.members += [Self.file("config/a", 1 << 59), Self.file("config/b", .max)]
        #expect(Self.code(other) == "backup_member")
        other = Self.manifest()
        other.byteCount += 1
        #expect(Self.code(other) == "backup_invalid")
        other = Self.manifest()
        other.formatVersion += 1
        #expect(Self.code(other) == "backup_version")
        other = Self.manifest()
        other.format = "x"
        #expect(Self.code(other) == "backup_invalid")
        other = Self.manifest()
        other.members.removeLast()
        other.byteCount = 0
        #expect(Self.code(other) == "backup_invalid")
    }

    @Test(
        "owners and modes come from the place, whatever the archive says",
        arguments: [UInt32(0o7777), 0o6755, 0, 0o666])
    func owners(archived: UInt32) throws {
        for (path, owner) in [
            ("config/slots.d/a.slot", BackupArea.Owner.root), ("state/store/station.db", .station),
            ("state/images/\(Self.sha).img", .library), ("state/builds/\(Self.build)/log", .library),
            ("state/builders/\(Self.sha)/tree/x", .library),
        ] {
            let area = try BackupArea(of: path)
            #expect(area.owner == owner)
            for kind in [BackupManifest.Member.Kind.file, .directory] {
                let mode = area.mode(path, kind, archived: archived)
                #expect(mode & 0o7022 == 0 && mode & 0o400 != 0, "\(path) \(String(mode, radix: 8))")
            }
        }
        #expect(
            try BackupArea(of: "state/store/station.db").mode("state/store/station.db", .file, archived: archived)
                == 0o600)
        let image = "state/images/\(Self.sha).img"
        #expect(try BackupArea(of: image).mode(image, .file, archived: archived) == 0o440)
    }

    // MARK: Headers

    private static func read(_ bytes: [UInt8]) throws -> TarHeader? {
        guard var header = try TarHeader(block: Array(bytes.prefix(512))) else { return nil }
        guard header.kind == .extended else { return header }
        let length = Int(header.storedByteCount)
        let extended = Array(bytes[512..<512 + length])
        header = try #require(try TarHeader(block: Array(bytes.suffix(512))))
        try header.apply(extended: extended)
        return header
    }

    @Test(
        "a header comes back as it went",
        arguments: [
            TarHeader(path: "config/a", kind: .file, storedByteCount: 5, mode: 0o644, modifiedAt: 7),
            TarHeader(
                path: "config/ä/" + String(repeating: "x", count: 200), kind: .directory, mode: 0o755, modifiedAt: 7),
            TarHeader(
                path: "state/a", kind: .file, storedByteCount: 1 << 34, mode: 0o644, modifiedAt: 7, owner: "station"),
            TarHeader(
                path: "state/a", kind: .link, mode: 0o777, modifiedAt: 7, linkTarget: String(repeating: "y", count: 150)
            ),
            TarHeader(
                path: "state/a", kind: .file, storedByteCount: 1024, sparseByteCount: 1 << 40, mode: 0o600,
                modifiedAt: 7),
        ])
    func headers(header: TarHeader) throws {
        let bytes = header.bytes
        #expect(bytes.count % 512 == 0)
        #expect(try Self.read(bytes) == header)
        // One wrong bit anywhere in the block is noticed.
        for index in stride(from: bytes.count - 512, to: bytes.count, by: 7) {
            var wrong = bytes
            wrong[index] ^= 1
            #expect((try? Self.read(wrong)) != header, "byte \(index)")
        }
    }

    @Test("devices, pipes, hard links and other extensions are refused", arguments: Array("1346gLKVS7".utf8))
    func kinds(kind: UInt8) throws {
        var block = TarHeader(path: "config/a", kind: .file, mode: 0o644, modifiedAt: 7).bytes
        block[156] = kind
        var sum = block.enumerated().reduce(0) { $0 + ((148..<156).contains($1.offset) ? 32 : Int($1.element)) }
        for index in stride(from: 153, through: 148, by: -1) {
            block[index] = UInt8(0x30 + sum % 8)
            sum /= 8
        }
        let error = #expect(throws: StationError.self) { try TarHeader(block: block) }
        #expect(error?.code == "backup_member" && error?.message.contains("config/a") == true)
    }

    @Test("an extended header that is none, or says what no backup has, is refused")
    func extensions() {
        for (text, word) in [
            ("x", "cannot be read"), ("5 a=", "cannot be read"), ("11 path=abc", "cannot be read"),
            ("99 path=a\n", "cannot be read"), ("0 path=a\n", "cannot be read"),
            ("14 uname=root\n", "no backup has"), ("18 SCHILY.acl.x=y\n", "no backup has"),
            ("22 GNU.sparse.major=1\n", "another format"), ("25 GNU.sparse.realsize=1\n", "another format"),
        ] {
            var header = TarHeader(path: "config/a", kind: .file, mode: 0o644, modifiedAt: 7)
            do {
                try header.apply(extended: Array(text.utf8))
                Issue.record("\(text) was taken")
            } catch { #expect(error.message.contains(word), "\(text): \(error.message)") }
        }
    }

    @Test("what is shut in the configuration stays shut")
    func shut() throws {
        let area = try BackupArea(of: "config/keys")
        #expect(area.mode("config/keys", .directory, archived: 0o700) == 0o700)
        #expect(area.mode("config/keys", .directory, archived: nil) == 0o755)
        #expect(area.mode("config/keys/a", .file, archived: 0o600) == 0o600)
    }

    @Test("a map of holes comes back, and one that does not fit is refused")
    func maps() throws {
        let map = SparseMap(parts: [
            .init(offset: 0, byteCount: 5), .init(offset: 4096, byteCount: 10), .init(offset: 9000, byteCount: 0),
        ])
        func read(_ bytes: [UInt8], _ size: UInt64) throws -> SparseMap {
            var rest = bytes[...]
            return try SparseMap(of: "x", fileByteCount: size) {
                defer { rest = rest.dropFirst(512) }
                guard rest.count >= 512 else { throw StationError("end", "") }
                return Array(rest.prefix(512))
            }
        }
        #expect(try read(map.bytes, 9000) == map)
        let many = SparseMap(parts: (0..<500).map { .init(offset: $0 * 8192, byteCount: 4096) })
        #expect(try read(many.bytes, 500 * 8192) == many)
        #expect(throws: StationError.self) { try read(map.bytes, 8999) }
        for parts in [[(10, 5), (12, 5)], [(10, 5), (0, 5)], [(UInt64.max, 1)]] as [[(UInt64, UInt64)]] {
            let wrong = SparseMap(parts: parts.map { .init(offset: $0.0, byteCount: $0.1) })
            #expect(throws: StationError.self) { try read(wrong.bytes, .max) }
        }
        for text in ["x\n", "-1\n", "1\n0\n", "99999999999999999999\n", "1 \n"] {
            let bytes = Array(text.utf8) + [UInt8](repeating: 0, count: 512 - text.utf8.count)
            #expect(throws: StationError.self) { try read(bytes, 100) }
        }
    }

    // MARK: The exchange

    /// A world of three names, and what each step does to it. After each one the power fails.
    @Test("an exchange that is cut off anywhere ends the same", arguments: [true, false])
    func exchange(wasThere: Bool) {
        let exchange = RestoreCommit.Exchange(target: "t", fresh: "f", kept: "k", inode: 2)
        var (target, fresh, kept): (UInt64?, UInt64?, UInt64?) = (wasThere ? 1 : nil, 2, nil)
        var steps = 0
        while true {
            #expect(target != nil || !wasThere, "the name always stands for something")
            switch exchange.step(targetInode: target, freshInode: fresh) {
            case .exchange: (target, fresh) = (fresh, target)
            case .place: (target, fresh) = (fresh, nil)
            case .keep: (kept, fresh) = (fresh, nil)
            case .nothing:
                #expect(target == 2 && fresh == nil && kept == (wasThere ? 1 : nil) && steps == (wasThere ? 2 : 1))
                return
            case .stuck:
                Issue.record("stuck")
                return
            }
            steps += 1
        }
    }

    @Test(
        "what is nobody's plan is left alone",
        arguments: [(nil, nil), (5, nil), (5, 6), (nil, 6)] as [(UInt64?, UInt64?)])
    func stuck(target: UInt64?, fresh: UInt64?) {
        let exchange = RestoreCommit.Exchange(target: "t", fresh: "f", kept: "k", inode: 2)
        #expect(exchange.step(targetInode: target, freshInode: fresh) == .stuck)
    }
}
