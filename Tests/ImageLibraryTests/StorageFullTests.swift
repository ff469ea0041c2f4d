import Glibc
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

/// A file system of 2 MiB, which only root can mount.
@Suite("a vault that is full", .enabled(if: getuid() == 0, "mounting needs root"))
struct StorageFullTests {
    /// A small tmpfs, unmounted with this object.
    final class SmallFileSystem {
        let path: String

        init() throws {
            var template = Array("/tmp/station-full-XXXXXX".utf8CString)
            let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } }
            path = String(cString: try #require(made))
            let arguments = ["-t", "tmpfs", "-o", "size=2m,mode=0750", "none", path]
            try #require(try ChildProcess("/bin/mount", arguments).wait() == .code(0))
        }

        deinit {
            _ = try? ChildProcess("/bin/umount", ["-l", path]).wait()
            rmdir(path)
        }
    }

    @Test("what will not fit is refused with the numbers before it is copied")
    func knownLength() throws {
        let (disk, bench) = (try SmallFileSystem(), try VaultBench())
        let vault = try ImageVault(directory: disk.path)
        var told = 0
        let error = libraryFailure {
            _ = try vault.importImage(from: bench.file(VaultBench.image(3 << 20)), .any) { _, _, _ in told += 1 }
        }
        #expect(error?.code == "storage_full" && told == 0)
        #expect(error?.message.contains("3145728") == true && error?.message.contains("2097152") == true)
        _ = try vault.importImage(from: bench.file(VaultBench.image(1 << 20)), .any)
    }

    @Test("a pipe that gives more than fits ends in the same error, and nothing is left", arguments: [false, true])
    func unknownLength(usesNamedFiles: Bool) throws {
        let disk = try SmallFileSystem()
        let vault = try ImageVault(directory: disk.path, usesNamedFiles: usesNamedFiles, clock: { 0 })
        let (reading, writer) = try VaultBench.pipe(giving: VaultBench.image(3 << 20), piece: 1 << 16)
        let error = libraryFailure { _ = try vault.importImage(from: reading, .any) }
        #expect(error?.code == "storage_full")
        #expect(SmallFile.names(in: disk.path) == [])
        // The third MiB was read, and then there was no room for it.
        #expect(try writer.value())
    }
}
