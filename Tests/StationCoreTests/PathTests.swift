import StationCore
import Testing

/// U+0301 and U+200D join the slash before them to one character; U+0600 joins the one behind it.
@Suite("paths, by their bytes")
struct PathTests {
    @Test(
        "a slash is one whatever stands beside it",
        arguments: [
            ("a/b", ["a", "b"]), ("../\u{301}x", ["..", "\u{301}x"]), ("../\u{200D}x", ["..", "\u{200D}x"]),
            ("\u{600}/x", ["\u{600}", "x"]), ("/\u{301}", ["", "\u{301}"]), ("", [""]), ("a//", ["a", "", ""]),
        ])
    func parts(path: String, parts: [String]) {
        #expect(Path.parts(path, omittingEmpty: false) == parts)
        #expect(Path.parts(path) == parts.filter { !$0.isEmpty })
        #expect(Path.isAbsolute(path) == (parts.count > 1 && parts[0].isEmpty))
    }

    @Test(
        "the directory of a path",
        arguments: [
            ("a", "."), ("/a", "/"), ("a/b", "a"), ("/a/b", "/a"), ("a/\u{301}", "a"), ("/\u{301}", "/"),
            ("a/\u{301}/b", "a/\u{301}"),
        ])
    func parent(path: String, parent: String) { #expect(Path.parent(path).utf8.elementsEqual(parent.utf8)) }

    @Test("what is below a directory, and what only begins like it")
    func below() {
        #expect(Path.below("a", "a/\u{301}b") == "\u{301}b")
        #expect(Path.below("a", "ab") == nil && Path.below("a", "a") == nil)
        #expect(Path.below("e\u{301}", "\u{E9}/b") == nil)
    }

    @Test(
        "a link stays inside or climbs",
        arguments: [
            ("a", 0, true), ("../a", 0, false), ("../a", 1, true), ("./../a/../..", 1, false), ("a/..", 0, true),
            ("../\u{301}a", 0, false), ("a/../\u{301}/../..", 0, false), ("/\u{301}", 5, false), ("/a", 5, false),
            ("", 5, false),
        ])
    func links(target: String, depth: Int, isInside: Bool) {
        #expect(Path.staysInside(target, depth: depth) == isInside)
    }
}
