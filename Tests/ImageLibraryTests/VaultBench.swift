import Digests
import Dispatch
import FoundationEssentials
import Glibc
import StationCore
import StationLinux
import Synchronization
import Testing

@testable import ImageLibrary

/// A vault in a directory of its own, gone with this object; and bytes to put into it.
final class VaultBench: Sendable {
    let directory: String
    let vault: ImageVault

    /// - Parameter clock: what progress is timed by.
    init(usesNamedFiles: Bool = false, clock: @escaping @Sendable () -> Double = { 0 }) throws {
        var template = Array("/tmp/station-vault-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } }
        directory = String(cString: try #require(made))
        vault = try ImageVault(directory: directory, usesNamedFiles: usesNamedFiles, clock: clock)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// All that is in the vault, the files of others beside it too.
    var names: [String] { SmallFile.names(in: directory) ?? [] }

    /// Bytes as a file that nobody has a name of.
    func file(_ bytes: [UInt8]) throws -> Descriptor {
        let file = try Descriptor(unnamedFileIn: "/tmp", mode: 0o600)
        try bytes.withUnsafeBytes { try file.write(all: $0) }
        return file
    }

    func bytes(of digest: SHA256Digest) throws -> [UInt8] {
        try SmallFile.read(vault.path(of: digest), limit: 64 << 20)
    }

    /// The error of an import that has to fail; nil when it does not.
    func failure(_ source: Descriptor, _ conditions: ImportConditions = .any) -> StationError? {
        libraryFailure { _ = try vault.importImage(from: source, conditions) }
    }

    /// An image of so many bytes that begins with an MBR of one partition; other bytes than those of another salt.
    static func image(_ byteCount: Int, salt: Int = 0) -> [UInt8] {
        var bytes = (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9 &+ salt) }
        for index in 0..<min(512, byteCount) { bytes[index] = 0 }
        guard byteCount >= 512 else { return bytes }
        bytes[446 + 4] = 0x83
        bytes[446 + 8] = 1
        bytes[446 + 12] = 64
        bytes[510] = 0x55
        bytes[511] = 0xAA
        return bytes
    }

    static func digest(_ bytes: [UInt8]) throws -> SHA256Digest {
        try #require(bytes.withUnsafeBytes { SHA256Hasher.digest($0) })
    }

    /// Both ends of a pipe, reading end first.
    static func pipe() throws -> (Descriptor, Descriptor) {
        var numbers: [Int32] = [-1, -1]
        _ = try retrying("pipe", "") { Glibc.pipe(&numbers) }
        for number in numbers { _ = fcntl(number, F_SETFD, FD_CLOEXEC) }
        return (Descriptor(owning: numbers[0]), Descriptor(owning: numbers[1]))
    }

    /// A pipe that gives these bytes, in pieces, and then its end.
    static func pipe(giving bytes: [UInt8], piece: Int) throws -> (Descriptor, Elsewhere<Bool>) {
        let (reading, writing) = try pipe()
        // Nobody but this thread has the writing end, so that the pipe ends with it.
        let writer = Elsewhere { () -> Bool in
            var rest = bytes[...]
            while !rest.isEmpty {
                let next = Array(rest.prefix(piece))
                guard (try? next.withUnsafeBytes { try writing.write(all: $0) }) != nil else { return false }
                rest = rest.dropFirst(piece)
            }
            return true
        }
        return (reading, writer)
    }
}

/// The error of a body that has to fail; nil when it does not.
func libraryFailure(_ body: () throws -> Void) -> StationError? {
    do {
        try body()
        return nil
    } catch { return error as? StationError ?? StationError("untyped", "\(error)") }
}

extension ImportConditions {
    static let any = ImportConditions(byteLimit: 1 << 30)
}

/// What blocks, done on a thread of its own while the test does something else.
final class Elsewhere<Value: Sendable>: Sendable {
    private let result = Mutex<Value?>(nil)
    private let group = DispatchGroup()

    init(_ body: @escaping @Sendable () -> Value) {
        DispatchQueue(label: "elsewhere").async(group: group) {
            let value = body()
            self.result.withLock { $0 = value }
        }
    }

    /// Waits for the body's end.
    func value() throws -> Value {
        group.wait()
        return try #require(result.withLock { $0 })
    }
}
