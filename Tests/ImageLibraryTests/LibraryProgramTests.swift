import FoundationEssentials
import Glibc
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

/// The program, as it was built beside the tests.
enum LibraryProgram {
    static let path: String? = SmallFile.link("/proc/self/exe").flatMap { tests in
        [tests, CommandLine.arguments[0]].compactMap { text in
            let program = text[..<(text.lastIndex(of: "/") ?? text.startIndex)] + "/station-library"
            return access(String(program), X_OK) == 0 ? String(program) : nil
        }.first
    }
}

/// The real program, over a socket pair, as stationd starts it where there is no systemd.
@Suite("station-library", .enabled(if: LibraryProgram.path != nil, "the program was not built"))
struct LibraryProgramTests {
    private func start(_ arguments: [String], _ descriptors: [Descriptor] = []) throws -> ChildProcess {
        try ChildProcess(try #require(LibraryProgram.path), arguments, descriptors: descriptors)
    }

    @Test("it serves one request and ends well, refused or not")
    func servesOne() throws {
        let bench = try VaultBench()
        let bytes = VaultBench.image(70_000)
        for (content, code) in [(bytes, nil), ([0x37, 0x7A, 0xBC, 0xAF, 0x27, 0x1C], "image_compressed")]
            as [([UInt8], String?)]
        {
            let (mine, theirs) = try LocalSocket.pair(.messages)
            let child = try start(["--vault", bench.directory, "--connected", "3"], [theirs.descriptor])
            _ = try mine.send(JSONEncoder().encode(LibraryServerTests.anyImage), descriptors: [bench.file(content)])
            var last: LibraryMessage?
            repeat {
                last = try Asker.next(mine)
            } while last.map { if case .progress = $0 { true } else { false } } == true
            if let code {
                guard case .failed(let error) = last else {
                    Issue.record("not refused")
                    return
                }
                #expect(error.code == code)
            } else {
                let digest = try VaultBench.digest(bytes)
                #expect(
                    last == .imported(sha256: digest, byteCount: UInt64(bytes.count), wasThere: false, origin: .unknown)
                )
                #expect(try bench.bytes(of: digest) == bytes)
            }
            #expect(child.wait() == .code(0))
        }
    }

    @Test("killed in the middle of an import, it leaves nothing that lasts")
    func killed() throws {
        let bench = try VaultBench()
        let (reading, writing) = try VaultBench.pipe()
        let (mine, theirs) = try LocalSocket.pair(.messages)
        let child = try start(["--vault", bench.directory, "--connected", "3"], [theirs.descriptor])
        _ = try mine.send(JSONEncoder().encode(LibraryServerTests.anyImage), descriptors: [reading])
        try LibraryServerTests.fill(writing)
        #expect(try Asker.next(mine) == .progress(.reading, bytesDone: 1 << 20, bytesTotal: nil))
        child.signal(SIGKILL)
        #expect(child.wait() == .signal(SIGKILL))
        // Where the file system knows no files without a name, the next one sweeps.
        _ = try ImageVault(directory: bench.directory)
        #expect(bench.names.isEmpty)
    }

    @Test("without a vault it says so to the station and to the journal")
    func noVault() throws {
        let (mine, theirs) = try LocalSocket.pair(.messages)
        let child = try start(["--vault", "/nonexistent", "--connected", "3"], [theirs.descriptor])
        guard case .failed(let error) = try Asker.next(mine) else {
            Issue.record("nothing was said")
            return
        }
        #expect(error.code == "vault_unusable")
        #expect(child.wait() == .code(1))
    }

    @Test(
        "a wrong command line is refused",
        arguments: [
            [], ["--vault"], ["--vault", "/tmp", "--connected", "x"], ["--vault", "/tmp", "--connected", "0"],
            ["--nonsense"],
        ])
    func usage(arguments: [String]) throws {
        #expect(try start(arguments).wait() == .code(2))
    }

    @Test("help and version need no vault", arguments: ["--help", "--version"])
    func help(argument: String) throws {
        #expect(try start([argument]).wait() == .code(0))
    }

    @Test("with no socket from anybody it says so")
    func noSocket() throws {
        #expect(try start(["--vault", "/tmp"]).wait() == .code(1))
    }
}
