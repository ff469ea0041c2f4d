import Glibc
import StationCore
import StationLinux
import Testing

@testable import ImageLibrary

@Suite("an Image Builder that is asked for")
struct BuilderFetchTests {
    private static func request(isOffline: Bool = true, isRefresh: Bool = false) throws -> BuilderRequest {
        var source = BuilderSource()
        source.isOffline = isOffline
        // Nobody answers there.
        source.mirrors = ["http://127.0.0.1:1"]
        source.retryCount = 1
        return BuilderRequest(
            triple: try BuilderTriple(release: "24.10.2", target: "x86", subtarget: "64"), source: source, known: nil,
            isRefresh: isRefresh, byteLimit: 1 << 30)
    }

    private static func ensure(
        _ bench: VaultBench, _ request: BuilderRequest, machine: String = "x86_64", stop: Descriptor? = nil
    ) throws -> Result<BuilderFacts, StationError> {
        let fetch = BuilderFetch(
            try BuilderDirectory(bench.directory), vault: bench.vault, keyDirectories: [], machine: machine, stop: stop,
            firstWait: 0.01, progress: { _, _, _ in }
        ) { _ throws(StationError) in throw StationError("test", "nothing is examined") }
        do throws(StationError) { return .success(try fetch.ensure(request).0) } catch { return .failure(error) }
    }

    private static func code(_ result: Result<BuilderFacts, StationError>) -> String? {
        if case .failure(let error) = result { error.code } else { nil }
    }

    @Test(
        "cannot run on another kind of host, which is said before anything else", arguments: ["aarch64", "riscv64", ""])
    func host(machine: String) throws {
        #expect(
            Self.code(try Self.ensure(VaultBench(), Self.request(isOffline: false), machine: machine))
                == "builder_host_unsupported")
    }

    @Test("is not asked for where everything is offline, and nobody answers where nobody is")
    func offline() throws {
        #expect(Self.code(try Self.ensure(VaultBench(), Self.request())) == "builder_offline")
        #expect(Self.code(try Self.ensure(VaultBench(), Self.request(isOffline: false))) == "download_failed")
    }

    /// Tries for ten seconds at most.
    private static func soon(_ condition: () -> Bool, sourceLocation: SourceLocation = #_sourceLocation) {
        for _ in 0..<1000 {
            if condition() { return }
            usleep(10_000)
        }
        Issue.record("not in ten seconds", sourceLocation: sourceLocation)
    }

    @Test("is left where it is while somebody works with it, and what was never finished goes")
    func locks() throws {
        let bench = try VaultBench()
        let directory = try BuilderDirectory(bench.directory)
        let digest = try #require(SHA256Digest(String(repeating: "a", count: 64)))
        mkdir("\(bench.directory)/\(digest)", 0o750)
        mkdir("\(bench.directory)/\(digest)/tree", 0o750)
        var hold = directory.hold(digest)
        #expect(hold != nil)
        #expect { try directory.remove(digest) } throws: { ($0 as? StationError)?.code == "builder_in_use" }
        hold = nil
        // A child that another test begins just then has the lock, too, until it becomes its program.
        Self.soon { (try? directory.remove(digest)) != nil }
        #expect(directory.archives().isEmpty && directory.hold(digest) == nil)
        var partial: (path: String, lock: Descriptor)? = try directory.makePartial()
        let path = try #require(partial?.path)
        directory.sweep(now: 0)
        #expect(access(path, F_OK) == 0)
        partial = nil
        Self.soon {
            directory.sweep(now: 0)
            return access(path, F_OK) != 0
        }
    }
}
