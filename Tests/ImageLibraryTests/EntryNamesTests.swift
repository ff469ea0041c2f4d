import CArchive
import Glibc
import Testing

@testable import ImageLibrary

@Suite struct EntryNamesTests {
    @Test("a name that cannot be had is none, whatever went wrong before on the same thread")
    func unknown() throws {
        let entry = try #require(archive_entry_new())
        defer { archive_entry_free(entry) }
        #expect(EntryNames.path(entry) == nil)
        // Where the locale has no such letter, there is no name in its letters.
        archive_entry_set_hardlink_utf8(entry, "\u{10348}\u{FC}")
        errno = ENOMEM
        let name = EntryNames.hardlink(entry)
        #expect(name == nil || name == "\u{10348}\u{FC}")
    }

    @Test("a name in whatever letters is that name")
    func known() throws {
        let entry = try #require(archive_entry_new())
        defer { archive_entry_free(entry) }
        archive_entry_set_pathname(entry, "a/b")
        #expect(EntryNames.path(entry) == "a/b")
        archive_entry_set_pathname_utf8(entry, "\u{FC}/b")
        #expect(EntryNames.path(entry) == "\u{FC}/b")
        archive_entry_set_symlink(entry, "../c")
        #expect(EntryNames.symlink(entry) == "../c")
    }
}
