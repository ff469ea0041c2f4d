import Glibc
import StationCore
package import StationLinux

/// A file of a test without a name: gone with the last descriptor.
package enum TemporaryFile {
    /// A regular file with these bytes, open for reading only, as images are handed over.
    package static func readOnly(_ bytes: [UInt8]) throws -> Descriptor {
        try named(bytes) { try Descriptor(opening: $0, O_RDONLY) }
    }

    /// The same, open for reading and writing.
    package static func writable(_ bytes: [UInt8]) throws -> Descriptor {
        try named(bytes) { try Descriptor(opening: $0, O_RDWR) }
    }

    private static func named(_ bytes: [UInt8], _ open: (String) throws -> Descriptor) throws -> Descriptor {
        let directory = getenv("TMPDIR").map { String(cString: $0) } ?? P_tmpdir
        // mkstemp(3) asks for six of this letter, and puts others in their place.
        var name = Array("\(directory)/flashing-station-test-XXXXXX".utf8CString)
        let number = mkstemp(&name)
        guard number >= 0 else { throw SystemError("mkstemp", directory) }
        let file = Descriptor(owning: number)
        let path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { unlink(path) }
        try bytes.withUnsafeBytes { try file.write(all: $0) }
        return try open(path)
    }
}
