import CArchive
import Glibc

/// The names that an entry of an archive has, as libarchive gives them; nil for one that it has not, or that cannot be had.
///
/// libarchive ends the whole process where a name cannot be had and `errno` is `ENOMEM`, whoever left that there; so `errno` says
/// nothing when it is asked.
enum EntryNames {
    static func path(_ entry: OpaquePointer) -> String? {
        ask(entry, archive_entry_pathname_utf8) ?? ask(entry, archive_entry_pathname)
    }

    static func hardlink(_ entry: OpaquePointer) -> String? { ask(entry, archive_entry_hardlink) }
    static func symlink(_ entry: OpaquePointer) -> String? { ask(entry, archive_entry_symlink) }

    /// To be called before libarchive looks at a header, where it asks for names itself.
    static func clear() { errno = 0 }

    private static func ask(
        _ entry: OpaquePointer, _ name: (OpaquePointer?) -> UnsafePointer<CChar>?
    ) -> String? {
        clear()
        return name(entry).map { String(cString: $0) }
    }
}
