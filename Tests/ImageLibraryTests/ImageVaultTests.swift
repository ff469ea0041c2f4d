import Glibc
import StationCore
import StationLinux
import Synchronization
import Testing

@testable import ImageLibrary

@Suite("the image vault")
struct ImageVaultTests {
    @Test("OpenSSL computes SHA-256 as the standard has it")
    func digests() throws {
        #expect(
            try VaultBench.digest(Array("abc".utf8)).hexadecimal
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            try VaultBench.digest([]).hexadecimal
                == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test(
        "a file is sealed as it is, whatever its length, with and without names on the way",
        arguments: [512, 513, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 77], [false, true])
    func sealsFiles(byteCount: Int, usesNamedFiles: Bool) throws {
        let bench = try VaultBench(usesNamedFiles: usesNamedFiles)
        let bytes = VaultBench.image(byteCount)
        let digest = try VaultBench.digest(bytes)
        let sealed = try bench.vault.importImage(from: bench.file(bytes), .any)
        #expect(
            sealed
                == ImageVault.SealedImage(
                    sha256: digest, byteCount: UInt64(byteCount), wasThere: false, origin: .unknown))
        #expect(try bench.bytes(of: digest) == bytes)
        #expect(bench.names == ["\(digest).img"])
        #expect(bench.vault.images() == [digest])
        let status = try FileStatus(of: bench.vault.path(of: digest), followingLinks: false)
        #expect(status.kind == .regular && status.mode == 0o440)
    }

    @Test("a file is read from its beginning, wherever its position is")
    func position() throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image(9000)
        let file = try bench.file(bytes)
        #expect(lseek(file.number, 0, SEEK_CUR) == 9000)
        #expect(try bench.vault.importImage(from: file, .any).sha256 == VaultBench.digest(bytes))
        #expect(lseek(file.number, 0, SEEK_CUR) == 9000)
    }

    @Test("a pipe is read to its end, in whatever pieces it comes", arguments: [1, 700, 65536])
    func pipes(piece: Int) throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image(piece == 1 ? 700 : (2 << 20) + 5)
        let (reading, writer) = try VaultBench.pipe(giving: bytes, piece: piece)
        let sealed = try bench.vault.importImage(from: reading, .any)
        #expect(try writer.value())
        #expect(try sealed.sha256 == VaultBench.digest(bytes) && sealed.byteCount == UInt64(bytes.count))
    }

    @Test("the vault's group can read an image, and nobody but it")
    func group() throws {
        let bench = try VaultBench()
        // Only root may give a file to a group it is not in.
        if getuid() == 0 { #expect(chown(bench.directory, 0, 4711) == 0) }
        let vault = try ImageVault(directory: bench.directory)
        let sealed = try vault.importImage(from: bench.file(VaultBench.image(4096)), .any)
        var (file, directory) = (stat(), stat())
        #expect(stat(vault.path(of: sealed.sha256), &file) == 0 && stat(bench.directory, &directory) == 0)
        #expect(file.st_gid == directory.st_gid)
    }

    @Test("the same image again was there; what had rotted on the disk is whole again")
    func again() throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image(5000)
        let first = try bench.vault.importImage(from: bench.file(bytes), .any)
        let path = bench.vault.path(of: first.sha256)
        let old = try Descriptor(opening: path, O_RDONLY)
        for damage in [Array(bytes.dropLast()), bytes.map { $0 ^ 1 }] {
            #expect(unlink(path) == 0)
            let file = try Descriptor(opening: path, O_WRONLY | O_CREAT, mode: 0o440)
            try damage.withUnsafeBytes { try file.write(all: $0) }
            #expect(try bench.bytes(of: first.sha256) != bytes)
            let again = try bench.vault.importImage(from: bench.file(bytes), .any)
            #expect(again.wasThere && again.sha256 == first.sha256)
            #expect(try bench.bytes(of: first.sha256) == bytes)
        }
        #expect(bench.names.count == 1)
        #expect(try SmallFile.read(old, path: path, limit: 1 << 20) == bytes, "who had it open reads on")
    }

    @Test("what stands under an image's name and is no regular file is refused", arguments: ["link", "directory"])
    func planted(what: String) throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image(5000)
        let path = bench.vault.path(of: try VaultBench.digest(bytes))
        #expect((what == "link" ? symlink("/etc/hostname", path) : mkdir(path, 0o700)) == 0)
        #expect(bench.failure(try bench.file(bytes))?.code == "vault_unusable")
        #expect(try FileStatus(of: path, followingLinks: false).kind != .regular)
    }

    @Test("a removed image is gone, and removing it again is no error")
    func remove() throws {
        let bench = try VaultBench()
        let (one, two) = (VaultBench.image(5000), VaultBench.image(5000, salt: 1))
        let sealed = try bench.vault.importImage(from: bench.file(one), .any)
        let kept = try bench.vault.importImage(from: bench.file(two), .any)
        try bench.vault.removeImage(sealed.sha256)
        try bench.vault.removeImage(sealed.sha256)
        #expect(bench.vault.images() == [kept.sha256])
    }

    @Test("an image of another SHA-256 than expected is not sealed")
    func expected() throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image(5000)
        var other = bytes
        other[4999] ^= 1
        let conditions = ImportConditions(byteLimit: 1 << 20, expected: try VaultBench.digest(bytes))
        #expect(bench.failure(try bench.file(other), conditions)?.code == "hash_mismatch")
        #expect(bench.names.isEmpty)
        #expect(bench.failure(try bench.file(bytes), conditions) == nil)
        #expect(bench.names.count == 1)
    }

    @Test("the limit holds to the byte, for files and for pipes", arguments: [false, true])
    func limit(isPipe: Bool) throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image(5000)
        for (limit, code) in [(5000, nil), (4999, "image_too_large"), (0, "image_too_large")] as [(UInt64, String?)] {
            var source = try bench.file(bytes)
            if isPipe {
                let (reading, writing) = try VaultBench.pipe()
                try bytes.withUnsafeBytes { try writing.write(all: $0) }
                source = reading
            }
            #expect(bench.failure(source, ImportConditions(byteLimit: limit))?.code == code)
            #expect(bench.names.isEmpty == (code != nil))
            if code == nil { try bench.vault.removeImage(VaultBench.digest(bytes)) }
        }
    }

    @Test("a file that is too large is refused with the numbers before it is read")
    func limitBeforehand() throws {
        let bench = try VaultBench()
        let file = try bench.file(VaultBench.image(5000))
        var told = 0
        let error = libraryFailure {
            _ = try bench.vault.importImage(from: file, ImportConditions(byteLimit: 4999)) { _, _, _ in told += 1 }
        }
        #expect(error?.message.contains("5000 bytes") == true && error?.message.contains("4999 bytes") == true)
        #expect(told == 0)
    }

    @Test(
        "what is neither a file nor a pipe is refused", arguments: ["/tmp", "/dev/zero", "socket", "/dev/loop-control"])
    func unsuitable(source: String) throws {
        let bench = try VaultBench()
        let descriptor =
            source == "socket" ? try LocalSocket.pair(.stream).0.descriptor : try Descriptor(opening: source, O_RDONLY)
        let error = try #require(bench.failure(descriptor))
        #expect(error.code == "source_unsuitable" && !error.remedy.isEmpty)
        #expect(bench.names.isEmpty)
    }

    @Test("a descriptor that cannot be read is an error of the source")
    func unreadable() throws {
        let bench = try VaultBench()
        let path = "\(bench.directory)/write-only"
        let file = try Descriptor(opening: path, O_WRONLY | O_CREAT, mode: 0o600)
        try VaultBench.image(5000).withUnsafeBytes { try file.write(all: $0) }
        #expect(bench.failure(file)?.code == "source_unreadable")
    }

    @Test(
        "a file that grows, shrinks or is written while it is read is not sealed",
        arguments: ["grow", "shrink", "write"])
    func changes(how: String) throws {
        // The clock is asked behind each piece that was copied: that is when somebody changes the file.
        let act = Mutex<(@Sendable () -> Void)?>(nil)
        let bench = try VaultBench(clock: {
            act.withLock { $0 }?()
            return 0
        })
        let bytes = VaultBench.image(3 << 20)
        let file = try bench.file(bytes)
        // Long ago, so that the change has another time whatever the clock's steps are.
        var times = [timespec(tv_sec: 1, tv_nsec: 0), timespec(tv_sec: 1, tv_nsec: 0)]
        #expect(futimens(file.number, &times) == 0)
        act.withLock {
            $0 = {
                switch how {
                case "grow": _ = ftruncate(file.number, 4 << 20)
                case "shrink": _ = ftruncate(file.number, 2 << 20)
                default: _ = pwrite(file.number, "x", 1, 600)
                }
            }
        }
        #expect(bench.failure(file)?.code == "source_changed")
        #expect(bench.names.isEmpty)
        act.withLock { $0 = nil }
        #expect(bench.failure(file) == nil)
    }

    @Test("progress is told with the first bytes, and then four times a second at most")
    func progress() throws {
        let time = Mutex(0.0)
        // Ten pieces a second.
        let bench = try VaultBench(clock: {
            time.withLock { now in
                now += 0.1; return now
            }
        })
        let bytes = VaultBench.image(20 << 20)
        var told: [UInt64] = []
        var steps: [ImportStep] = []
        _ = try bench.vault.importImage(from: bench.file(bytes), .any) { step, done, total in
            #expect(total == 20 << 20)
            if step == .reading { told.append(done >> 20) } else { steps.append(step) }
        }
        #expect(told == [1, 4, 7, 10, 13, 16, 19] && steps == [.sealing])
    }

    @Test("zeros become holes, wherever they are, and the image stays the same")
    func holes() throws {
        let bench = try VaultBench()
        for zeros in [
            0..<0, 512..<(5 << 20), 4096..<8192, 4097..<8191, (1 << 20) - 4096..<(1 << 20) + 4096, 8192..<(6 << 20),
        ] {
            var bytes = VaultBench.image(6 << 20)
            bytes.replaceSubrange(zeros, with: [UInt8](repeating: 0, count: zeros.count))
            let sealed = try bench.vault.importImage(from: bench.file(bytes), .any)
            #expect(try sealed.sha256 == VaultBench.digest(bytes) && bench.bytes(of: sealed.sha256) == bytes)
            var status = stat()
            #expect(stat(bench.vault.path(of: sealed.sha256), &status) == 0 && status.st_size == 6 << 20)
            let holes = max(0, zeros.upperBound / 4096 - (zeros.lowerBound + 4095) / 4096) * 4096
            #expect(Int(status.st_blocks) * 512 <= (6 << 20) - holes + 65536, "\(zeros)")
            try bench.vault.removeImage(sealed.sha256)
        }
    }

    @Test("an image in the vault is found whole, damaged or missing")
    func verification() throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image((2 << 20) + 5)
        let sealed = try bench.vault.importImage(from: bench.file(bytes), .any)
        let path = bench.vault.path(of: sealed.sha256)
        func code(_ byteCount: UInt64 = sealed.byteCount) -> String? {
            libraryFailure { try bench.vault.verifyImage(sealed.sha256, byteCount: byteCount) }?.code
        }
        #expect(code() == nil)
        #expect(code(5) == "image_damaged")
        #expect(chmod(path, 0o640) == 0)
        let file = try Descriptor(opening: path, O_RDWR)
        for offset in [0, 1 << 20, (2 << 20) + 4] as [UInt64] {
            try [bytes[Int(offset)] ^ 4].withUnsafeBytes { try file.write(all: $0, at: offset) }
            #expect(code() == "image_damaged")
            try [bytes[Int(offset)]].withUnsafeBytes { try file.write(all: $0, at: offset) }
            #expect(code() == nil)
        }
        #expect(ftruncate(file.number, 2 << 20) == 0)
        #expect(code() == "image_damaged")
        try bench.vault.removeImage(sealed.sha256)
        #expect(code() == "image_missing")
    }

    @Test("StorageLimit= is of all images: what is there counts, and the error has the numbers")
    func storageLimit() throws {
        let bench = try VaultBench()
        let limit = ImportConditions(byteLimit: 5 << 20)
        #expect(bench.failure(try bench.file(VaultBench.image(3 << 20)), limit) == nil)
        let error = try #require(bench.failure(try bench.file(VaultBench.image(3 << 20, salt: 1)), limit))
        #expect(error.code == "storage_full" && error.message.contains("5242880"))
        #expect(bench.names.count == 1)
        #expect(bench.failure(try bench.file(VaultBench.image(1 << 20, salt: 2)), limit) == nil)
    }

    @Test("a vault is a directory into which not everybody may write")
    func unusable() throws {
        let bench = try VaultBench()
        for path in ["/nonexistent", "/etc/hostname"] {
            #expect(libraryFailure { _ = try ImageVault(directory: path) }?.code == "vault_unusable")
        }
        #expect(chmod(bench.directory, 0o777) == 0)
        #expect(libraryFailure { _ = try ImageVault(directory: bench.directory) }?.code == "vault_unusable")
        #expect(chmod(bench.directory, 0o2750) == 0)
        _ = try ImageVault(directory: bench.directory)
    }

    @Test("what an import left that was killed is swept away; what lives, and what is none, is not")
    func sweep() throws {
        let bench = try VaultBench(usesNamedFiles: true)
        let dead = "\(bench.directory)/.import-0123.part"
        let other = "\(bench.directory)/notes.txt"
        for path in [dead, other] { _ = try Descriptor(opening: path, O_WRONLY | O_CREAT, mode: 0o600) }
        let living = try UnsealedFile(in: bench.directory, isNamed: true)
        #expect(bench.names.count == 3)
        _ = try ImageVault(directory: bench.directory)
        #expect(
            bench.names.count == 2 && !bench.names.contains(".import-0123.part") && bench.names.contains("notes.txt"))
        try living.descriptor.synchronise()
    }
}
