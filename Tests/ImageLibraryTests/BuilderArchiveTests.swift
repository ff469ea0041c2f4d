import Glibc
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

/// What may be in an Image Builder's archive, and what never leaves it.
@Suite("an Image Builder's archive")
struct BuilderArchiveTests {
    /// One entry as ustar has it.
    struct Entry: Sendable {
        var name: String
        var type: Character = "0"
        var link = ""
        var content = ""
        var mode = 0o644
    }

    private static func tar(_ entries: [Entry]) -> [UInt8] {
        var result: [UInt8] = []
        for entry in entries {
            var header = [UInt8](repeating: 0, count: 512)
            func put(_ text: String, at offset: Int) {
                header.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
            }
            func octal(_ value: Int, _ width: Int, at offset: Int) {
                let digits = String(value, radix: 8)
                put(String(repeating: "0", count: width - 1 - digits.count) + digits, at: offset)
            }
            put(entry.name, at: 0)
            octal(entry.mode, 8, at: 100)
            octal(0, 8, at: 108)
            octal(0, 8, at: 116)
            octal(entry.content.utf8.count, 12, at: 124)
            octal(1_700_000_000, 12, at: 136)
            put(String(entry.type), at: 156)
            put(entry.link, at: 157)
            put("ustar\u{0}00", at: 257)
            let sum = header.indices.reduce(0) { $0 + ((148..<156).contains($1) ? 0x20 : Int(header[$1])) }
            octal(sum, 7, at: 148)
            header[154] = 0
            header[155] = 0x20
            result += header + Array(entry.content.utf8)
            result += [UInt8](repeating: 0, count: (512 - entry.content.utf8.count % 512) % 512)
        }
        return result + [UInt8](repeating: 0, count: 1024)
    }

    /// Unpacks, and returns the directory and what was refused.
    private static func unpack(_ bytes: [UInt8], limit: UInt64 = 1 << 30) throws -> (VaultBench, String, StationError?)
    {
        let bench = try VaultBench()
        let directory = "\(bench.directory)/tree"
        mkdir(directory, 0o755)
        let source = try ImageSource(bench.file(bytes), stop: nil)
        do throws(StationError) {
            try BuilderArchive(source: source, byteLimit: limit, progress: BuildProgressTeller { _, _, _ in })
                .unpack(into: directory)
            return (bench, directory, nil)
        } catch { return (bench, directory, error) }
    }

    static let good = [
        Entry(name: "ib/", type: "5", mode: 0o777), Entry(name: "ib/bin/", type: "5", mode: 0o755),
        Entry(name: "ib/bin/tool", content: "x", mode: 0o4777),
        Entry(name: "ib/python3", type: "2", link: "/usr/bin/python3"),
        Entry(name: "ib/link", type: "2", link: "bin/tool"), Entry(name: "ib/hard", type: "1", link: "ib/bin/tool"),
    ]

    @Test("is laid out without its one directory, and nothing in it has more rights than a file needs")
    func unpacks() throws {
        let (bench, directory, error) = try Self.unpack(Self.tar(Self.good))
        try #require(error == nil, "\(String(describing: error))")
        #expect(try SmallFile.read("\(directory)/bin/tool") == Array("x".utf8))
        #expect(try FileStatus(of: "\(directory)/bin/tool").mode == 0o755)
        #expect(try FileStatus(of: "\(directory)/bin").mode == 0o755)
        #expect(
            SmallFile.link("\(directory)/python3") == "/usr/bin/python3"
                && SmallFile.link("\(directory)/link") == "bin/tool")
        #expect(try FileWitness(of: "\(directory)/hard").inode == FileWitness(of: "\(directory)/bin/tool").inode)
        withExtendedLifetime(bench) {}
    }

    static let bad: [(why: String, entries: [Entry])] = [
        ("an absolute name", [Entry(name: "/etc/evil", content: "x")]),
        ("a name that climbs", [Entry(name: "ib/a/../../evil", content: "x")]),
        ("a second directory", [Entry(name: "ib/a", content: "x"), Entry(name: "other/b", content: "x")]),
        ("a link that climbs", [Entry(name: "ib/l", type: "2", link: "../../evil")]),
        ("a link that climbs late", [Entry(name: "ib/l", type: "2", link: "a/../../evil")]),
        ("a link that climbs behind a combining mark", [Entry(name: "ib/l", type: "2", link: "../\u{301}evil")]),
        ("a name that climbs behind a combining mark", [Entry(name: "ib/a/../\u{301}evil", content: "x")]),
        ("a hard link out of it", [Entry(name: "ib/l", type: "1", link: "/etc/passwd")]),
        ("a hard link that climbs", [Entry(name: "ib/l", type: "1", link: "ib/../../x")]),
        ("a character device", [Entry(name: "ib/d", type: "3")]), ("a block device", [Entry(name: "ib/d", type: "4")]),
        ("a pipe", [Entry(name: "ib/p", type: "6")]),
        (
            "a file through a link",
            [Entry(name: "ib/l", type: "2", link: "/tmp"), Entry(name: "ib/l/flashing-station-evil", content: "x")]
        ),
        (
            "a file through a link inside",
            [
                Entry(name: "ib/d/", type: "5", mode: 0o755), Entry(name: "ib/l", type: "2", link: "d"),
                Entry(name: "ib/l/x", content: "x"),
            ]
        ),
        ("a control character", [Entry(name: "ib/a\u{1B}[2J", content: "x")]), ("nothing", []),
    ]

    @Test("is refused for", arguments: bad)
    func refused(row: (why: String, entries: [Entry])) throws {
        let (bench, directory, error) = try Self.unpack(Self.tar(row.entries))
        #expect(error?.code == "builder_archive_invalid", "\(String(describing: error))")
        #expect(access("/tmp/flashing-station-evil", F_OK) != 0 && access("\(bench.directory)/evil", F_OK) != 0)
        #expect((SmallFile.names(in: "\(directory)/d") ?? []).isEmpty)
    }

    @Test("is refused when it is longer than there is room")
    func bomb() throws {
        let (_, _, error) = try Self.unpack(
            Self.tar([Entry(name: "ib/a", content: String(repeating: "x", count: 5000))]), limit: 4096)
        #expect(error?.code == "storage_full")
    }

    @Test("is refused in what is no tar")
    func noTar() throws {
        for bytes in [
            [UInt8](repeating: 7, count: 4096), Array("PK\u{3}\u{4}".utf8) + [UInt8](repeating: 0, count: 600),
        ] {
            #expect(try Self.unpack(bytes).2?.code == "builder_archive_invalid")
        }
    }

    @Test(
        "says which part of a file a server sends",
        arguments: [
            ("bytes 0-99/100", true), ("bytes 5-9/*", true), ("Bytes 5-9/10", true), ("bytes 9-5/10", false),
            ("bytes 5-10/10", false),
            ("bytes */10", false), ("items 0-1/2", false), ("bytes 0-1", false), ("", false), ("bytes -5-9/10", false),
        ])
    func contentRange(row: (text: String, isGood: Bool)) { #expect((ContentRange(row.text) != nil) == row.isGood) }
}
