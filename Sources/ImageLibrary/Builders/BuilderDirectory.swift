import FoundationEssentials
import Glibc
package import StationCore
import StationLinux

/// Where Image Builders are: `SHA256/tree`, and `SHA256/builder.json` beside it, for each archive that was unpacked.
///
/// A directory that has such a name is whole and on the disk. Who works with one holds a shared lock on it; who takes one away
/// needs it exclusively.
package struct BuilderDirectory: Sendable {
    /// What is kept of a builder beside its tree.
    struct Record: Codable, Equatable {
        var facts: BuilderFacts
        var info: BuilderInfo
    }

    private static let partSuffix = ".part"
    private static let partialSuffix = ".partial"
    private static let recordLimit = 4 << 20

    package let path: String

    /// - Throws: `vault_unusable`.
    package init(_ path: String) throws(StationError) {
        guard let status = try? FileStatus(of: path), status.kind == .directory, status.mode & 0o002 == 0 else {
            throw StationError(
                "vault_unusable", "\(path.printable()) is no directory, or everybody may write into it",
                remedy: "systemd-tmpfiles --create, or: mkdir -m 750 \(path.printable())")
        }
        self.path = path
    }

    func directory(of archive: SHA256Digest) -> String { "\(path)/\(archive)" }
    package func tree(of archive: SHA256Digest) -> String { "\(directory(of: archive))/tree" }

    /// The builders that are there.
    package func archives() -> [SHA256Digest] { (SmallFile.names(in: path) ?? []).compactMap { SHA256Digest($0) } }

    /// What is known of a builder; nil where it is not there, or its record is damaged.
    func record(of archive: SHA256Digest) -> Record? {
        guard
            let bytes = try? SmallFile.read("\(directory(of: archive))/builder.json", limit: Self.recordLimit)
        else { return nil }
        return try? JSONDecoder().decode(Record.self, from: Data(bytes))
    }

    /// The builder of a triple that is there; of several, as of a snapshot, nobody can say which.
    func record(of triple: BuilderTriple) -> Record? {
        archives().compactMap { record(of: $0) }.first { $0.facts.triple == triple }
    }

    /// Holds a builder for as long as the result lives: nobody takes it away. Nil where it is not there.
    func hold(_ archive: SHA256Digest) -> Descriptor? {
        guard let directory = try? Descriptor(opening: directory(of: archive), O_RDONLY | O_DIRECTORY),
            flock(directory.number, LOCK_SH | LOCK_NB) == 0,
            (try? FileStatus(of: self.directory(of: archive))) != nil
        else { return nil }
        return directory
    }

    /// Deletes a builder; nothing happens when it is not there. Blocks.
    /// - Throws: `builder_in_use`, `vault_unusable`.
    package func remove(_ archive: SHA256Digest) throws(StationError) {
        let directory = directory(of: archive)
        guard let held = try? Descriptor(opening: directory, O_RDONLY | O_DIRECTORY) else { return }
        guard flock(held.number, LOCK_EX | LOCK_NB) == 0 else {
            throw StationError(
                "builder_in_use", "a build works with the Image Builder \(archive.short)…",
                remedy: "wait for it: stationctl builds list")
        }
        // First out of sight, then away: a name that is there stands for a whole builder.
        let doomed = freePartialPath()
        do {
            _ = try retrying("rename", directory) { rename(directory, doomed) }
            try Descriptor(opening: path, O_RDONLY).synchronise()
        } catch { throw ImageVault.unusable(path, error) }
        FileTree.remove(doomed)
    }

    /// Waits until nobody else fetches the builder of a triple, and keeps others waiting for as long as the result lives.
    /// - Parameter waiting: is called again and again while somebody else does.
    func lock(_ triple: BuilderTriple, waiting: () throws(StationError) -> Void) throws(StationError) -> Descriptor {
        let name = triple.description.replacing("/", with: "_")
        do {
            let file = try Descriptor(opening: "\(path)/.\(name).lock", O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
            while flock(file.number, LOCK_EX | LOCK_NB) != 0 { try waiting() }
            return file
        } catch let error as StationError {
            throw error
        } catch let error as SystemError {
            throw ImageVault.unusable(path, error)
        } catch { throw StationError("internal_error", "\(error)") }
    }

    /// Where what came of an archive is, also when its download was interrupted.
    func part(of archive: SHA256Digest) throws(StationError) -> (file: Descriptor, path: String) {
        let path = "\(path)/.\(archive)\(Self.partSuffix)"
        do {
            return (try Descriptor(opening: path, O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600), path)
        } catch { throw ImageVault.unusable(path, error) }
    }

    /// A directory for a builder that is unpacked now. It is locked by the second of the two.
    func makePartial() throws(StationError) -> (path: String, lock: Descriptor) {
        while true {
            let partial = freePartialPath()
            do {
                _ = try retrying("mkdir", partial) { mkdir(partial, 0o750) }
                // A sweep may come between the making and the locking; then it is gone, and another is made.
                guard let lock = try? Descriptor(opening: partial, O_RDONLY | O_DIRECTORY),
                    flock(lock.number, LOCK_SH | LOCK_NB) == 0, (try? FileStatus(of: partial)) != nil
                else { continue }
                _ = try retrying("mkdir", partial) { mkdir("\(partial)/tree", 0o750) }
                return (partial, lock)
            } catch { throw ImageVault.unusable(path, error) }
        }
    }

    /// Writes the record of a builder that is there anew. Blocks.
    func keep(_ record: Record) throws(StationError) {
        try write(record, in: directory(of: record.facts.archiveSHA256))
    }

    private func write(_ record: Record, in directory: String) throws(StationError) {
        let data = (try? JSONEncoder().encode(record)).map { Array($0) } ?? []
        do {
            try SmallFile.replace("\(directory)/builder.json", with: data, mode: 0o440)
        } catch { throw ImageVault.unusable(path, error) }
    }

    /// Gives an unpacked builder its name, all at once and for good. Blocks: everything of it is made to last.
    /// - Throws: `builder_in_use`, `vault_unusable`.
    func seal(_ partial: String, _ record: Record) throws(StationError) {
        try write(record, in: partial)
        // What is there already could not be used, or this one would not have been made.
        try remove(record.facts.archiveSHA256)
        do {
            // One call for thousands of files.
            let tree = try Descriptor(opening: partial, O_RDONLY | O_DIRECTORY)
            try tree.synchroniseFileSystem()
            let target = directory(of: record.facts.archiveSHA256)
            _ = try retrying("rename", target) { rename(partial, target) }
            try Descriptor(opening: path, O_RDONLY).synchronise()
        } catch { throw ImageVault.unusable(path, error) }
    }

    /// Takes away what was never finished. What lives holds a lock; what was downloaded stays, for whoever goes on with it,
    /// unless it is a week old.
    func sweep(now: Double) {
        for name in SmallFile.names(in: path) ?? [] where name.hasPrefix(".") {
            let path = "\(path)/\(name)"
            if name.hasSuffix(Self.partialSuffix) {
                guard let file = try? Descriptor(opening: path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { continue }
                if flock(file.number, LOCK_EX | LOCK_NB) == 0 { FileTree.remove(path) }
            } else if name.hasSuffix(Self.partSuffix), let witness = try? FileWitness(of: path),
                now - Double(witness.modifiedAt) / 1e9 > 7 * 86_400
            {
                unlink(path)
            }
        }
    }

    private func freePartialPath() -> String {
        "\(path)/.\(String(UInt64.random(in: 0 ... .max), radix: 16))\(Self.partialSuffix)"
    }
}
