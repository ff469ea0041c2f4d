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
        // Bytes that are said to be UTF-8, and are not.
        archive_entry_set_hardlink_utf8(entry, [CChar(bitPattern: 0xFF), CChar(bitPattern: 0xC3), 0])
        errno = ENOMEM
        #expect(EntryNames.hardlink(entry) == nil)
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
