import Glibc
import ProfileDocuments
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

@Suite("the files of profiles in the library")
struct OverlayTests {
    /// What stationctl would pack of a small tree.
    private func packed() throws -> [UInt8] {
        let folder = try VaultBench()
        for (name, text) in [("a", "one"), ("b-c", "two"), ("d", String(repeating: "x", count: 1000))] {
            try SmallFile.replace("\(folder.directory)/\(name)", with: text, mode: 0o644)
        }
        symlink("a", folder.directory + "/link")
        mkdir(folder.directory + "/sub", 0o755)
        var profile = Profile(
            profileID: "p", name: "n", deviceID: "d", release: "r", target: "t", subtarget: "s",
            imageBuilderProfile: "i")
        profile.overlayDirectory = folder.directory
        profile.files = [
            .init(source: folder.directory + "/a", destination: "/sub/inner/file", mode: "0600", owner: "nobody")
        ]
        let overlay = try #require(ProfileSources.gather(profile, file: "ap.yaml").overlay)
        let archive = try OverlayArchive(packing: overlay, in: "/tmp")
        return try SmallFile.read(archive.file, path: "archive", limit: 1 << 20)
    }

    private func failure(_ bytes: [UInt8], expected: SHA256Digest? = nil) throws -> String? {
        let bench = try VaultBench()
        let file = try bench.file(bytes)
        let error = libraryFailure {
            _ = try bench.vault.importOverlay(from: file, expected: expected ?? SHA256.digest(of: bytes))
        }
        #expect(error == nil || bench.names.isEmpty, "\(bench.names)")
        return error?.code
    }

    @Test("what stationctl packs is sealed under its SHA-256, also a second time")
    func seals() throws {
        let bytes = try packed()
        let digest = SHA256.digest(of: bytes)
        let bench = try VaultBench()
        for _ in 0..<2 {
            let asker = try Asker(bench)
            try asker.ask(.importOverlay(expected: digest), [bench.file(bytes)])
            #expect(try asker.answer() == .importedOverlay(byteCount: UInt64(bytes.count)))
        }
        #expect(bench.names == ["\(digest).overlay.tar"])
        #expect(try SmallFile.read(bench.vault.overlayPath(of: digest), limit: 1 << 20) == bytes)
        #expect(try FileStatus(of: bench.vault.overlayPath(of: digest)).mode == 0o440)
        #expect(bench.vault.images().isEmpty)
    }

    @Test("another digest is refused")
    func digest() throws {
        #expect(try failure(packed(), expected: SHA256.digest(of: [1])) == "hash_mismatch")
    }

    /// The archive with one entry's header changed, its sum put right again.
    private func changed(_ name: String, _ change: (inout [UInt8]) -> Void) throws -> [UInt8] {
        var bytes = try packed()
        let start = try #require(
            stride(from: 0, to: bytes.count, by: 512).first { bytes[$0...].starts(with: Array(name.utf8) + [0]) })
        var header = Array(bytes[start..<start + 512])
        change(&header)
        header.replaceSubrange(148..<156, with: [UInt8](repeating: 0x20, count: 8))
        let sum = String(header.reduce(0) { $0 + Int($1) }, radix: 8)
        header.replaceSubrange(
            148..<156, with: Array((String(repeating: "0", count: 6 - sum.count) + sum).utf8) + [0, 0x20])
        bytes.replaceSubrange(start..<start + 512, with: header)
        return bytes
    }

    private func set(_ range: Range<Int>, _ text: String) -> (inout [UInt8]) -> Void {
        { header in
            header.replaceSubrange(
                range, with: Array(text.utf8) + [UInt8](repeating: 0, count: range.count - text.utf8.count))
        }
    }

    @Test("the bench itself changes nothing that is not asked for")
    func unchanged() throws {
        #expect(try failure(changed("b-c") { _ in }) == nil)
    }

    @Test(
        "names that lead out, or are out of order, are refused",
        arguments: ["../b", "/b", "b/../c", "b//c", "./b", "a", "Z", "zz/b", "b\nc", "b/"])
    func names(name: String) throws {
        #expect(try failure(changed("b-c", set(0..<100, name))) == "overlay_invalid")
    }

    @Test("a name is split at its bytes", arguments: [("sub/inner/\u{301}c", true), ("sub/inner/../\u{301}c", false)])
    func bytes(name: String, isGood: Bool) throws {
        #expect(try failure(changed("sub/inner/file", set(0..<100, name))) == (isGood ? nil : "overlay_invalid"))
    }

    @Test(
        "devices, pipes, hard links and extensions are refused",
        arguments: ["1", "3", "4", "6", "7", "x", "g", "L", "K", ""])
    func types(type: String) throws {
        #expect(try failure(changed("b-c", set(156..<157, type))) == "overlay_invalid")
    }

    @Test(
        "links that lead out are refused",
        arguments: ["/etc/passwd", "../a", "sub/../../a", "", "../\u{301}a", "/\u{301}a"])
    func links(target: String) throws {
        #expect(try failure(changed("link", set(157..<257, target))) == "overlay_invalid")
        #expect(try failure(changed("link", set(157..<257, "sub/inner"))) == nil)
    }

    @Test("times, users and sums that are not as packed are refused")
    func fields() throws {
        #expect(try failure(changed("b-c", set(136..<147, "00000000001"))) == "overlay_invalid")
        #expect(try failure(changed("b-c", set(108..<115, "0001000"))) == "overlay_invalid")
        #expect(try failure(changed("b-c", set(100..<107, "0777777"))) == "overlay_invalid")
        #expect(try failure(changed("b-c", set(257..<263, "ustar "))) == "overlay_invalid")
        var bytes = try packed()
        bytes[150] ^= 1
        #expect(try failure(bytes) == "overlay_invalid")
    }

    @Test("an archive that ends too early, or goes on, is refused")
    func ends() throws {
        let bytes = try packed()
        #expect(try failure([]) == "overlay_invalid")
        #expect(try failure([UInt8](repeating: 0, count: 1024)) == nil)
        for count in [1, 512, 1024, 1025, 1536] {
            #expect(try failure(Array(bytes.dropLast(count))) == "overlay_invalid")
        }
        for count in [1, 512] { #expect(try failure(bytes + [UInt8](repeating: 0, count: count)) == "overlay_invalid") }
        #expect(try failure(Array("no archive at all".utf8)) == "overlay_invalid")
        #expect(try failure(changed("d", set(124..<135, "77777777777"))) == "overlay_invalid")
    }

    @Test("a pipe is refused")
    func pipes() throws {
        let bench = try VaultBench()
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let (reading, writing) = (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
        let error = libraryFailure {
            _ = try bench.vault.importOverlay(from: reading, expected: SHA256.digest(of: []))
        }
        #expect(error?.code == "overlay_invalid")
        withExtendedLifetime(writing) {}
    }
}
