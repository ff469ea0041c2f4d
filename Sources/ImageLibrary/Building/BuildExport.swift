import Glibc
import StationCore
import StationLinux

/// A copy of a build's artifacts where root lets them be published: in a hidden directory, which gets the build's name when the
/// build is whole.
struct BuildExport {
    private let partial: String
    private let target: String

    /// Copies the artifacts. Blocks.
    /// - Throws: `export_failed`, with nothing of it left.
    init(of artifacts: BuildArtifacts, in output: String, to directory: String, as build: BuildID) throws(StationError)
    {
        partial = "\(directory)/.\(build).partial"
        target = "\(directory)/\(build)"
        do {
            _ = try retrying("mkdir", partial) { mkdir(partial, 0o755) }
        } catch { throw Self.failure(target, error) }
        do {
            for artifact in artifacts.files {
                try Self.copy("\(output)/\(artifact.name)", to: "\(partial)/\(artifact.name)")
            }
        } catch {
            abandon()
            throw Self.failure(target, error)
        }
    }

    /// Gives it its name. Blocks.
    /// - Throws: `export_failed`.
    func publish() throws(StationError) {
        do {
            _ = try retrying("rename", target) { rename(partial, target) }
        } catch { throw Self.failure(target, error) }
    }

    func abandon() { FileTree.remove(partial) }

    private static func copy(_ path: String, to copyPath: String) throws {
        let source = try Descriptor(opening: path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        let copy = try Descriptor(opening: copyPath, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o644)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var offset: UInt64 = 0
        while true {
            let count = try source.read(into: buffer, at: offset)
            if count == 0 { break }
            try copy.write(all: UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: offset)
            offset += UInt64(count)
        }
        _ = try retrying("fchmod", copyPath) { fchmod(copy.number, 0o644) }
        try copy.synchronise()
    }

    private static func failure(_ target: String, _ error: any Error) -> StationError {
        StationError(
            "export_failed", "the artifacts cannot be published to \(target.printable()): \(error)",
            remedy: "the directory must be there, belong to station-library, and stand in ReadWritePaths= of "
                + "station-library@.service")
    }
}
