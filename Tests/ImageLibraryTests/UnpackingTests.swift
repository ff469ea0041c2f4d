import Glibc
import Glibc
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

@Suite("packed images")
struct UnpackingTests {
    /// What becomes of a file at import, without the last step: the image's SHA-256, or an error.
    private static func outcome(
        _ bytes: some Collection<UInt8>, _ bench: VaultBench, _ conditions: ImportConditions = .any
    ) throws -> Result<ImageImport.Product, StationError> {
        let source = try ImageSource(bench.file(Array(bytes)), stop: nil)
        do throws(StationError) {
            var job = try ImageImport(
                conditions, source: source, companions: [:], keyDirectories: [],
                room: VaultRoom(directory: bench.directory, limit: conditions.byteLimit, imagePaths: []),
                progress: ImportProgressTeller(clock: { 0 }, send: { _, _, _ in })
            ) { () throws(StationError) in try UnsealedFile(in: bench.directory, isNamed: false) }
            return .success(try job.run())
        } catch { return .failure(error) }
    }

    private static func code(_ outcome: Result<ImageImport.Product, StationError>) -> String? {
        if case .failure(let error) = outcome { error.code } else { nil }
    }

    @Test("what every tool packs is unpacked, whatever its length", arguments: PackedSample.commands)
    func good(sample: (name: String, container: String, command: String)) throws {
        let bench = try VaultBench()
        for byteCount in [512, 70_001, (3 << 20) + 77] {
            let image = PackedSample.image(byteCount)
            let file = try PackedSample.make(sample.name, of: image)
            let sealed = try bench.vault.importImage(from: bench.file(file), .any)
            #expect(try bench.bytes(of: sealed.sha256) == image, "\(byteCount)")
            #expect(sealed.origin.container == sample.container && sealed.origin.isChecked)
            let (pipe, writer) = try VaultBench.pipe(giving: file, piece: 7001)
            #expect(try bench.vault.importImage(from: pipe, .any).sha256 == sealed.sha256)
            #expect(try writer.value())
        }
    }

    @Test("cut off anywhere, no file is taken", arguments: PackedSample.names)
    func truncated(name: String) throws {
        let bench = try VaultBench()
        let file = try PackedSample.make(name, of: PackedSample.image(1600))
        var codes: Set<String> = []
        for count in 0..<file.count {
            let code = Self.code(try Self.outcome(file.prefix(count), bench))
            #expect(code != nil, "cut at \(count) of \(file.count)")
            if count > 30 { codes.insert(code ?? "") }
        }
        #expect(codes == ["image_truncated"])
    }

    @Test(
        "a zstd frame that is shorter than it declares is damaged, also where its last block is empty",
        arguments: [0, 10])
    func zstdLength(missing: Int) throws {
        let image = PackedSample.image(3 << 20)
        let (count, declared) = (image.count, image.count + missing)
        var file: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0xA0]
        file += (0..<4).map { UInt8(truncatingIfNeeded: declared >> (8 * $0)) }
        for start in stride(from: 0, to: count, by: 1 << 16) {
            let block = image[start..<min(count, start + 1 << 16)]
            file += (0..<3).map { UInt8(truncatingIfNeeded: (block.count << 3) >> (8 * $0)) } + block
        }
        file += [1, 0, 0]
        let code = Self.code(try Self.outcome(file, VaultBench()))
        #expect(code == (missing == 0 ? nil : "image_corrupt"))
    }

    @Test("with any bit of any byte flipped, no file yields another image", arguments: PackedSample.names)
    func flipped(name: String) throws {
        let bench = try VaultBench()
        let image = PackedSample.image(1600)
        let digest = try VaultBench.digest(image)
        var file = try PackedSample.make(name, of: image)
        var refused = 0
        for index in file.indices {
            // Every bit of the first and last bytes, where the structure is; one of the others.
            let isEdge = index < 64 || index >= file.count - 64
            for bit in isEdge ? Array(0..<8) : [index % 8] {
                file[index] ^= 1 << bit
                // libarchive ends the process where a name makes no sense and this was left behind by whatever came before.
                errno = ENOMEM
                switch try Self.outcome(file, bench) {
                case .success(let product): #expect(product.sha256 == digest, "byte \(index), bit \(bit)")
                case .failure: refused += 1
                }
                file[index] ^= 1 << bit
            }
        }
        #expect(refused > file.count / 2, "names and times may change, and what they stand for may not")
    }

    @Test(
        "whatever stands behind the end is refused, and is no truncation",
        arguments: PackedSample.names.filter { !$0.hasPrefix("tar") && !$0.hasPrefix("gzip in") })
    func trailing(name: String) throws {
        let bench = try VaultBench()
        let file = try PackedSample.make(name, of: PackedSample.image(1600))
        for tail in [[0], Array("FWx0".utf8), [UInt8](repeating: 0, count: 4097), [UInt8](repeating: 1, count: 60_000)]
        {
            #expect(Self.code(try Self.outcome(file + tail, bench)) == "image_trailing_bytes", "\(tail.count) bytes")
        }
    }

    @Test("a tar that something was appended to is refused")
    func tarTrailing() throws {
        let bench = try VaultBench()
        let file = try PackedSample.run("tar -cf out image.img", ["image.img": PackedSample.image(1600)])
        #expect(Self.code(try Self.outcome(file, bench)) == nil)
        #expect(Self.code(try Self.outcome(file + [1], bench)) == "image_truncated")
        #expect(Self.code(try Self.outcome(file.prefix(2048), bench)) == "image_truncated")
    }

    @Test("members that follow each other are one image", arguments: ["gzip", "xz", "zstd", "bzip2", "lz4"])
    func members(tool: String) throws {
        let bench = try VaultBench()
        let image = PackedSample.image(300_001)
        let parts = ["one": Array(image[..<100_000]), "two": Array(image[100_000...])]
        let command = "{ \(tool) -q -c one; \(tool) -q -c two; }"
        let file = try PackedSample.run("\(command) > out", parts)
        #expect(try bench.vault.importImage(from: bench.file(file), .any).sha256 == VaultBench.digest(image))
        let code = Self.code(try Self.outcome(file.dropLast(), bench))
        #expect(code == "image_truncated")
        if tool == "xz" {
            let padded = try PackedSample.run("{ xz -c one; head -c 8 /dev/zero; xz -c two; } > out", parts)
            #expect(Self.code(try Self.outcome(padded, bench)) == nil)
            #expect(Self.code(try Self.outcome(padded + [0, 0, 0], bench)) == "image_trailing_bytes")
        }
    }

    @Test(
        "what was packed without a checksum is taken, and said to be",
        arguments: [
            ("zstd -q --no-check -c image.img > out", "zstd"), ("lz4 -q --no-frame-crc -c image.img > out", "lz4"),
            ("xz -C none -c image.img > out", "xz"),
            ("{ zstd -q -c image.img; zstd -q --no-check -c image.img; } > out", "zstd"), ("cp image.img out", "raw"),
            ("tar -cf out image.img", "tar"),
        ])
    func unchecked(command: String, container: String) throws {
        let bench = try VaultBench()
        let file = try PackedSample.run(command, ["image.img": PackedSample.image(5000)])
        let origin = try bench.vault.importImage(from: bench.file(file), .any).origin
        #expect(origin.container == container && !origin.isChecked)
        let zipped = try PackedSample.run("zip -q out.zip in && mv out.zip out", ["in": file])
        #expect(try bench.vault.importImage(from: bench.file(zipped), .any).origin.isChecked, "the zip's checksum is")
    }

    @Test("names mean nothing: what is in a file is told by its bytes")
    func misnamed() throws {
        let bench = try VaultBench()
        let image = PackedSample.image(5000)
        let file = try PackedSample.run(
            "gzip -c image.img > a.xz; zip -q out.zip a.xz; mv out.zip out", ["image.img": image])
        var conditions = ImportConditions.any
        conditions.fileName = "image.tar.bz2"
        let sealed = try bench.vault.importImage(from: bench.file(file), conditions)
        #expect(try sealed.sha256 == VaultBench.digest(image) && sealed.origin.container == "zip › gzip")
        #expect(sealed.origin.fileName == "image.tar.bz2")
    }

    @Test("packings deeper than four are refused, and so is what unpacks to more than may be")
    func bombs() throws {
        let bench = try VaultBench()
        let image = PackedSample.image(5000)
        let four = try PackedSample.run("gzip -c i | gzip | xz | bzip2 > out", ["i": image])
        #expect(Self.code(try Self.outcome(four, bench)) == nil)
        let five = try PackedSample.run("gzip -c i | gzip | xz | bzip2 | zstd -q > out", ["i": image])
        #expect(Self.code(try Self.outcome(five, bench)) == "image_bomb")
        let zeros = try PackedSample.run("{ cat i; head -c 64M /dev/zero; } | gzip > out", ["i": image])
        #expect(Self.code(try Self.outcome(zeros, bench)) == nil)
        let small = ImportConditions(byteLimit: 64 << 20)
        #expect(Self.code(try Self.outcome(zeros, bench, small)) == "image_too_large")
        let known = try PackedSample.run("{ cat i; head -c 64M /dev/zero; } > a; zstd -q -c a > out", ["i": image])
        guard case .failure(let error) = try Self.outcome(known, bench, small) else {
            Issue.record("it was taken")
            return
        }
        #expect(error.message.contains("67113864"), "a length that is told is checked first: \(error.message)")
    }

    @Test("a window larger than there should be memory for is refused with what to do")
    func memory() throws {
        let bench = try VaultBench()
        let file = try PackedSample.run(
            "{ cat i; head -c 300M /dev/zero; } | zstd -q --ultra --long=30 > out", ["i": PackedSample.image(5000)])
        #expect(Self.code(try Self.outcome(file, bench)) == "image_memory")
        let xz = try PackedSample.run("xz --lzma2=dict=512MiB -c i > out", ["i": PackedSample.image(5000)])
        #expect(Self.code(try Self.outcome(xz, bench)) == "image_memory")
    }

    @Test("an encrypted member is refused as such")
    func encrypted() throws {
        let file = try PackedSample.run(
            "zip -q -P secret out.zip image.img && mv out.zip out", ["image.img": PackedSample.image(5000)])
        #expect(Self.code(try Self.outcome(file, VaultBench())) == "image_encrypted")
    }
}
