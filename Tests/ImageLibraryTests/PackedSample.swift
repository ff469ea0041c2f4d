import Glibc
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

/// Files packed by Debian's own tools.
enum PackedSample {
    /// A shell's command line for each way to pack `image.img`; the file that comes out is `out`.
    static let commands: [(name: String, container: String, command: String)] = [
        ("gzip", "gzip", "gzip -c image.img > out"),
        ("gzip with its name and the least effort", "gzip", "gzip -1 -N -c image.img > out"),
        ("xz", "xz", "xz -c image.img > out"), ("xz with CRC-32", "xz", "xz -C crc32 -c image.img > out"),
        ("zstd", "zstd", "zstd -q -c image.img > out"),
        ("zstd from a pipe", "zstd", "cat image.img | zstd -q -c > out"),
        ("bzip2", "bzip2", "bzip2 -c image.img > out"), ("lz4", "lz4", "lz4 -q -c image.img > out"),
        ("lz4 with checksums of blocks", "lz4", "lz4 -q -BX -BD -c image.img > out"),
        ("zip", "zip", "zip -q -X out.zip image.img && mv out.zip out"),
        (
            "zip with a comment", "zip",
            "zip -q out.zip image.img && echo a comment | zip -q -z out.zip && mv out.zip out"
        ),
        ("zip that only stores", "zip", "zip -q -0 out.zip image.img && mv out.zip out"),
        ("zip from a pipe", "zip", "cat image.img | zip -q - - > out"),
        ("tar.gz", "gzip › tar", "tar -cf - image.img | gzip -c > out"),
        ("gzip in a zip", "zip › gzip", "gzip image.img && zip -q out.zip image.img.gz && mv out.zip out"),
        ("gzip in a zip in xz", "xz › zip › gzip", "gzip image.img && zip -q - image.img.gz | xz -c > out"),
    ]

    static let names = commands.map(\.name)

    /// - Parameter content: of `image.img`, and `other.img` beside it.
    static func make(_ name: String, of content: [UInt8]) throws -> [UInt8] {
        try run(try #require(commands.first { $0.name == name }).command, ["image.img": content])
    }

    /// Runs a command line in a directory with files, and reads `out`.
    static func run(_ command: String, _ files: [String: [UInt8]]) throws -> [UInt8] {
        var template = Array("/tmp/station-packed-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } }
        let directory = String(cString: try #require(made))
        defer { _ = try? ChildProcess("/bin/rm", ["-r", directory]).wait() }
        for (name, bytes) in files {
            let file = try Descriptor(opening: "\(directory)/\(name)", O_WRONLY | O_CREAT, mode: 0o600)
            try bytes.withUnsafeBytes { try file.write(all: $0) }
        }
        let child = try ChildProcess("/bin/sh", ["-e", "-c", "cd \(directory); \(command)"])
        try #require(child.wait() == .code(0), "\(command)")
        return try SmallFile.read("\(directory)/out", limit: 64 << 20)
    }

    /// An image of one partition: some of it packs well, some not at all.
    static func image(_ byteCount: Int) -> [UInt8] {
        var bytes = VaultBench.image(byteCount)
        var state: UInt64 = 88_172_645_463_325_252
        for index in 512..<max(512, byteCount / 2) {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            bytes[index] = UInt8(truncatingIfNeeded: state)
        }
        return bytes
    }
}
